"""Numbers that compare two sets of responses: win rate, difference, and the best of n as a control."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from likelier.intervals import Floats, Interval, mean_interval, rate_interval


class WinRate(NamedTuple):
    """How often b beats a; a tie counts half."""

    rate: float
    interval: Interval
    ties: int
    n: int


def win_rate(scores_a: ArrayLike, scores_b: ArrayLike, clusters: Sequence[str], seed: int = 0) -> WinRate:
    """Share of rows where b's score is above a's, equal scores half, with an interval that draws whole clusters."""
    won = wins(scores_a, scores_b)
    return WinRate(float(won.mean()), rate_interval(won, clusters, seed), int((won == 0.5).sum()), len(won))


def wins(scores_a: ArrayLike, scores_b: ArrayLike) -> Floats:
    """1 where b is above a, 0 where below, 1/2 where equal."""
    won: Floats = (np.sign(np.asarray(scores_b, float) - np.asarray(scores_a, float)) + 1) / 2
    return won


def shift(scores_a: ArrayLike, scores_b: ArrayLike, clusters: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Mean of b minus mean of a (row by row the same prompt), its paired interval, and both in deviations of a.

    The intervals are None where all rows are of one cluster.
    """
    before, after = np.asarray(scores_a, float), np.asarray(scores_b, float)
    difference, interval = float((after - before).mean()), mean_interval(after - before, clusters, seed)
    deviation = float(before.std())
    return {
        "difference": difference,
        "difference_interval": interval,
        "std_a": deviation,
        "in_stds": difference / deviation if deviation else None,
        "in_stds_interval": [bound / deviation for bound in interval] if interval and deviation else None,
    }


def best_of_n_kl(n: int) -> float:
    """Upper bound log n - (n - 1) / n on the KL of the best of n from the model it came from, in nats a response.

    Met where no single response has much probability (Stiennon et al. 2020, Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n


def best_of_n_weights(scores: ArrayLike, n: int) -> Floats:
    """How often each of N responses is the best of n drawn without repetition, [prompts, N] from scores of that shape.

    The response with r - 1 worse ones beside it is the best of C(r - 1, n - 1) of all C(N, n) subsets: every response
    is used, and any mean over these weights is unbiased (Nakano et al. 2021, appendix). Equal scores: the later one.
    """
    found = np.asarray(scores, float)
    rows, count = found.shape
    if n > count:
        raise ValueError(f"best of {n} needs at least {n} responses to each prompt, got {count}")
    chance = np.array([math.comb(rank, n - 1) / math.comb(count, n) for rank in range(count)])
    ranks = np.argsort(np.argsort(found, axis=1, kind="stable"), axis=1, kind="stable")
    weights: Floats = chance[ranks].reshape(rows, count)
    return weights
