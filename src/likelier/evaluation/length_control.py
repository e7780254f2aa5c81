"""Length-controlled win rates: how often b would win if its responses were as long as a's.

    P(b wins) = sigmoid(level + slope * tanh(d / s))

with d the difference of lengths in characters, b's minus a's, and s its root mean square: a logistic regression, of
which the level alone is left. As AlpacaEval 2 (Dubois et al. 2024, equation 2) without its terms of models and
instructions, which need results of many models. Where length pays by itself this falls below the win rate; where longer
responses win because they are better, too, so both are to be looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from likelier.intervals import Floats, Interval, share_interval, sum_clusters

PRIOR_SDS = np.array([10.0, 5.0])
"""Of level and slope, normal and centred at 0: without any wins or losses there would be no largest likelihood."""
MAX_STEPS = 50
MIN_CLUSTERS = 20
"""Prompts that it takes to fit two numbers and know how well."""


class LengthControlled(NamedTuple):
    """A win rate at equal length."""

    rate: float
    interval: Interval | None
    slope: float
    """Log-odds for b by which it wins more often where it is much longer."""


def control_length(
    wins: ArrayLike, differences: ArrayLike, clusters: Sequence[str], weights: ArrayLike | None = None
) -> LengthControlled | None:
    """Return b's win rate at equal length from wins [N], 0 to 1, and b's length minus a's [N]; clusters are prompts.

    `weights` [N] are how often a pair counts, or the probability that it is drawn; None: each pair counts once. None:
    fewer than `MIN_CLUSTERS` prompts, or all pairs are of equal length. The interval is that of a share whose variance
    is the cluster sandwich of the level (Liang and Zeger 1986), carried over by the slope of the sigmoid.
    """
    outcomes, lengths = np.asarray(wins, float), np.asarray(differences, float)
    counts = np.ones(len(outcomes)) if weights is None else np.asarray(weights, float)
    scale = float(np.sqrt((counts * lengths**2).sum() / counts.sum())) if len(lengths) else 0.0
    sizes = sum_clusters(counts, clusters)[0] if len(outcomes) else np.zeros(0)
    if len(sizes) < MIN_CLUSTERS or scale == 0:
        return None
    design = np.stack([np.ones(len(lengths)), np.tanh(lengths / scale)], axis=1)
    (level, slope), hessian = fit_level_and_slope(design, outcomes, counts)
    rate = float(expit(level))
    residuals = counts * (outcomes - expit(design @ np.array([level, slope])))
    influences = design * residuals[:, None] @ np.linalg.inv(hessian)[:, 0]
    count = len(sizes)
    deviations = sum_clusters(influences, clusters)[0] * rate * (1 - rate) * np.sqrt(count / (count - 2))
    interval = share_interval(rate, deviations, sizes, round(counts.sum()), float(counts.sum()))
    return LengthControlled(rate, interval, float(slope))


def fit_level_and_slope(design: Floats, outcomes: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return the weights of largest posterior [2] and the curvature there [2, 2], by Newton's method."""
    weights = np.zeros(2)
    for _ in range(MAX_STEPS):
        p = expit(design @ weights)
        gradient = design.T @ (counts * (outcomes - p)) - weights / PRIOR_SDS**2
        hessian = (design * (counts * p * (1 - p))[:, None]).T @ design + np.diag(1 / PRIOR_SDS**2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return weights, hessian
