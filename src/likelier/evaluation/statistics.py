"""Statistics that compare two sets of scores: win rate, difference of means, best-of-n."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from likelier.intervals import Floats, Interval, mean_interval, rate_interval


class WinRate(NamedTuple):
    """How often b beats a, ties counting half."""

    rate: float
    interval: Interval | None
    ties: int
    n: int


def compute_win_rate(scores_a: ArrayLike, scores_b: ArrayLike, clusters: Sequence[str]) -> WinRate:
    """Return the share of rows where b scores above a, ties counting half, with an interval over clusters."""
    outcomes = compute_wins(scores_a, scores_b)
    ties = int((outcomes == 0.5).sum())
    return WinRate(float(outcomes.mean()), rate_interval(outcomes, clusters), ties, len(outcomes))


def compute_wins(scores_a: ArrayLike, scores_b: ArrayLike) -> Floats:
    """Return 1 where b scores above a, 0 where below, 1/2 where equal."""
    outcomes: Floats = (np.sign(np.asarray(scores_b, float) - np.asarray(scores_a, float)) + 1) / 2
    return outcomes


@dataclass(frozen=True)
class Shift:
    """Mean score of b minus that of a, raw and in standard deviations of a's scores."""

    difference: float
    difference_interval: Interval | None
    std_a: float
    in_stds: float | None
    in_stds_interval: Interval | None


def compute_shift(scores_a: ArrayLike, scores_b: ArrayLike, clusters: Sequence[str]) -> Shift:
    """Return the difference of means with its paired interval; row i of both is the same prompt.

    The intervals are None if all rows belong to one cluster, or all clusters shift alike; `in_stds` is None if a's
    scores are all equal.
    """
    a, b = np.asarray(scores_a, float), np.asarray(scores_b, float)
    difference, interval = float((b - a).mean()), mean_interval(b - a, clusters)
    std = float(a.std())
    return Shift(
        difference=difference,
        difference_interval=interval,
        std_a=std,
        in_stds=difference / std if std else None,
        in_stds_interval=[bound / std for bound in interval] if interval and std else None,
    )


def best_of_n_kl(n: int) -> float:
    """Return log n - (n - 1) / n, an upper bound on KL(best-of-n || model), in nats per response.

    The bound is tight if every single response is improbable (Stiennon et al. 2020, Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n


def best_of_n_weights(scores: ArrayLike, n: int) -> Floats:
    """Return the probability that each of N responses is the best of n drawn without replacement, [prompts, N].

    A response with r - 1 worse ones is the best of C(r - 1, n - 1) of all C(N, n) subsets: every response is used, and
    any mean with these weights is unbiased (Nakano et al. 2021, appendix). Among equal scores the later wins.
    """
    scores = np.asarray(scores, float)
    rows, count = scores.shape
    if n > count:
        raise ValueError(f"best of {n} needs at least {n} responses to each prompt, got {count}")
    probability = np.array([math.comb(rank, n - 1) / math.comb(count, n) for rank in range(count)])
    ranks = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1, kind="stable")
    weights: Floats = probability[ranks].reshape(rows, count)
    return weights
