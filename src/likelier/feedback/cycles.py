"""Intransitive cycles: triads of responses that one person prefers in a circle, and how many chance alone makes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
MAX_WEDGES = 2_000_000
"""Pairs of comparisons that share a response; of more, those of a random part of the responses are looked at."""


class Cycles(NamedTuple):
    """Triads that each annotator compared in all three ways without a tie, [annotators] each."""

    triads: Indices
    cyclic: Indices
    expected: Floats
    """How many of them independent answers of the same probabilities would make cyclic."""


def count_cycles(
    annotator: Indices, low: Indices, high: Indices, prefers_low: NDArray[np.bool_], p_low: Floats, num_annotators: int
) -> Cycles:
    """Count cyclic triads in one answer for each annotator and pair of responses, [N] each; `low` < `high`.

    Each triad is found once, by the two comparisons of its response of the lowest number. `p_low` is the probability
    that the annotator prefers `low`: with p, q, r of a-b, b-c, a-c a triad is cyclic with p q (1 - r) + (1 - p)
    (1 - q) r.
    """
    order = np.lexsort((high, low, annotator))
    annotator, low, high = annotator[order], low[order], high[order]
    prefers_low, p_low = prefers_low[order], p_low[order]
    first, second = pair_wedges(annotator, low)
    num_responses = int(high.max(initial=0)) + 1
    codes, pair = np.unique(low * num_responses + high, return_inverse=True)
    wanted = high[first] * num_responses + high[second]
    closing = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
    there = codes[closing] == wanted if len(codes) else np.zeros(0, bool)
    first, second, closing = first[there], second[there], closing[there]
    keys = annotator * len(codes) + pair
    by_key = np.argsort(keys)
    wanted = annotator[first] * len(codes) + closing
    place = np.minimum(np.searchsorted(keys[by_key], wanted), max(len(keys) - 1, 0))
    there = keys[by_key[place]] == wanted if len(keys) else np.zeros(0, bool)
    first, second, third = first[there], second[there], by_key[place[there]]
    cyclic = (prefers_low[first] == prefers_low[third]) & (prefers_low[first] != prefers_low[second])
    p, q, r = p_low[first], p_low[third], p_low[second]
    chance = p * q * (1 - r) + (1 - p) * (1 - q) * r
    owner = annotator[first]
    return Cycles(
        np.bincount(owner, minlength=num_annotators),
        np.bincount(owner[cyclic], minlength=num_annotators),
        np.bincount(owner, chance, num_annotators).astype(float),
    )


def pair_wedges(annotator: Indices, low: Indices) -> tuple[Indices, Indices]:
    """Return all pairs of places with the same annotator and response; both are sorted by annotator, then response."""
    starts_group = np.ones(len(low), bool)
    starts_group[1:] = (annotator[1:] != annotator[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(starts_group)
    sizes = np.diff(np.append(starts, len(low)))
    wedges = sizes * (sizes - 1) // 2
    if wedges.sum() > MAX_WEDGES:
        shuffled = np.random.default_rng(0).permutation(len(sizes))
        left_out = shuffled[np.cumsum(wedges[shuffled]) > MAX_WEDGES]
        kept = np.ones(len(sizes), bool)
        kept[left_out] = False
    else:
        kept = np.ones(len(sizes), bool)
    group = np.cumsum(starts_group) - 1
    following = np.where(kept[group], sizes[group] - 1 - (np.arange(len(low)) - starts[group]), 0)
    first = np.repeat(np.arange(len(low)), following)
    ahead = np.arange(len(first)) - np.repeat(np.cumsum(following) - following, following)
    return first, first + 1 + ahead
