"""Are a reward model's probabilities true? Reliability diagram, expected calibration error, and a temperature.

A score difference d says that the better response is preferred with probability sigmoid(d). A temperature T makes it
sigmoid(d / T): it changes neither a ranking nor a reward, only what a difference is said to mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from likelier.intervals import Floats, Indices, Interval
from likelier.records import Preference
from likelier.reward.judged import asked_weights, clusters, judgement_logits, log_losses, targets

NUM_BINS = 15
REPLICATES = 300
FOLDS = 5
LARGEST_TEMPERATURE = 100.0


def orient(logits: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Return the probability that the higher score wins, from 1/2 to 1, and whether it won.

    Ties and equal scores count as half a win.
    """
    won = np.where(logits == 0, 0.5, np.where(logits > 0, target, 1 - target))
    return expit(np.abs(logits)), won


def assign_bins(expected: Floats, weight: Floats | None = None) -> Indices:
    """Return the bin of each pair: 15 of equal mass by predicted probability, fewer for fewer pairs.

    Pairs of one probability stay together. Those of total weight w, with a weight of v below them, are in bin
    floor(15 (v + w / 2) / sum of weights).
    """
    values, codes = np.unique(expected, return_inverse=True)
    mass = np.bincount(codes, weight, len(values))
    share = (np.cumsum(mass) - mass / 2) / max(mass.sum(), 1e-12)
    num_bins = min(NUM_BINS, len(expected))
    bins: Indices = np.minimum((num_bins * share).astype(int), num_bins - 1)[codes]
    return bins


def calibration(logits: Floats, target: Floats, weight: Floats | None = None) -> list[dict[str, float]]:
    """Return the mean prediction, the observed frequency and the pairs of each bin, weighted by `weight` [N]."""
    weight = np.ones(len(logits)) if weight is None else weight
    (expected, won), counted = orient(logits, target), weight > 0
    bins = assign_bins(expected, weight)
    found = []
    for number in np.unique(bins[counted]):
        rows = np.flatnonzero(counted & (bins == number))
        means = [float(np.average(values[rows], weights=weight[rows])) for values in (expected, won)]
        found.append({"expected": means[0], "observed": means[1], "pairs": len(rows)})
    return found


def calibration_error(logits: Floats, target: Floats, weight: Floats | None = None) -> float:
    """Expected calibration error: mean of |observed - predicted| over the bins, weighted by their pairs."""
    expected, won = orient(logits, target)
    return weigh_gaps(expected, won, np.ones(len(expected)) if weight is None else weight)


def weigh_gaps(expected: Floats, won: Floats, weight: Floats) -> float:
    """Return sum over bins of |sum of w (won - expected)| / sum w: the calibration error of weighted pairs."""
    bins = assign_bins(expected, weight)
    gaps = np.bincount(bins, weight * (won - expected), NUM_BINS)
    return float(np.abs(gaps).sum() / max(weight.sum(), 1e-12))


def check_by_chance(logits: Floats, weight: Floats | None = None) -> Floats:
    """Return calibration errors of as many pairs where every probability is true, [draws]: what is due to chance."""
    expected = expit(np.abs(logits))
    generator, weight = np.random.default_rng(0), np.ones(len(expected)) if weight is None else weight
    draws = (generator.random((REPLICATES, len(expected))) < expected).astype(float)
    return np.array([weigh_gaps(expected, won, weight) for won in draws])


def calibration_interval(logits: Floats, pairs: Sequence[Preference]) -> Interval | None:
    """Return a 95% interval of the calibration error; None for fewer than two clusters.

    The error of n pairs is too large by chance, and that of a resample of them by about as much again: the interval is
    the basic bootstrap's over clusters, 2 e - q, which takes that off (Davison and Hinkley 1997, section 5.2). Near 0,
    where the error has an end, the bootstrap fails; 0 is in the interval if true probabilities show as much in 2.5%.
    """
    (expected, won), weight = orient(logits, targets(pairs)), asked_weights(pairs)
    codes = np.unique(clusters(pairs), return_inverse=True)[1]
    num_clusters = int(codes.max()) + 1
    if num_clusters < 2:
        return None
    generator = np.random.default_rng(0)
    error = weigh_gaps(expected, won, weight)
    drawn = [
        weigh_gaps(expected, won, weight * np.bincount(draw, minlength=num_clusters)[codes])
        for draw in generator.integers(num_clusters, size=(REPLICATES, num_clusters))
    ]
    low, high = 2 * error - np.quantile(drawn, [0.975, 0.025])
    if error <= np.quantile(check_by_chance(logits, weight), 0.975):
        low = 0.0
    return [max(0.0, float(low)), max(0.0, float(high))]


def fit_temperature(difference: Floats, pairs: Sequence[Preference]) -> float:
    """Return the temperature T of the lowest log loss of sigmoid(difference / T), from 1/100 to 100.

    Source: Guo et al. 2017, "On calibration of modern neural networks". The loss is convex in 1 / T where nobody is
    careless. Carelessness (`flip`) stays as it is.
    """
    (target, weight), largest = (targets(pairs), asked_weights(pairs)), float(np.log(LARGEST_TEMPERATURE))

    def loss(log_temperature: float) -> float:
        logits = judgement_logits(difference / np.exp(log_temperature), pairs)
        return float(np.average(log_losses(logits, target), weights=weight))

    found = minimize_scalar(loss, bounds=(-largest, largest), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def check_temperature(
    difference: Floats, pairs: Sequence[Preference], valid_difference: Floats, valid: Sequence[Preference]
) -> dict[str, Any]:
    """Fit the temperature on the validation pairs and measure what it does on other held-out pairs.

    Without validation pairs apart from `pairs` it is fitted on all of these, and measured by cross-fitting: each fifth
    of the clusters by the temperature of the others. None where there are too few clusters.
    """
    if len(valid):
        temperature = fit_temperature(valid_difference, valid)
        scaled = difference / temperature
    else:
        folds = np.unique(clusters(pairs), return_inverse=True)[1]
        if folds.max() < 1:
            return dict.fromkeys(("temperature", "log_loss_at_temperature", "calibration_error_at_temperature"))
        temperature, folds = fit_temperature(difference, pairs), folds % FOLDS
        scaled = np.zeros(len(pairs))
        for fold in np.unique(folds):
            rest = [pair for pair, other in zip(pairs, folds != fold, strict=True) if other]
            scaled[folds == fold] = difference[folds == fold] / fit_temperature(difference[folds != fold], rest)
    logits, target, weight = judgement_logits(scaled, pairs), targets(pairs), asked_weights(pairs)
    return {
        "temperature": temperature,
        "log_loss_at_temperature": float(np.average(log_losses(logits, target), weights=weight)),
        "calibration_error_at_temperature": calibration_error(logits, target, weight),
        "calibration_error_at_temperature_interval": calibration_interval(logits, pairs),
        "calibration_at_temperature": calibration(logits, target, weight),
    }
