"""Variances of shares of answers that have people, comparisons and responses in common."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.intervals import Interval, count_freedom, jackknife_deviations, share_interval, student_interval

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Rows = NDArray[np.bool_]


class Crossing:
    """Pairs of N answers that share a person, a comparison or a response."""

    def __init__(self, annotator: Indices, comparison: Indices, left: Indices, right: Indices) -> None:
        """Take numbers of people, comparisons and responses, [N] each."""
        self.annotator, self.comparison = annotator, comparison
        self.response = np.concatenate([left, right])
        """[2 N]"""
        keys = np.tile(annotator, 2) * (int(self.response.max(initial=0)) + 1) + self.response
        self.own = np.unique(keys, return_inverse=True)[1]
        """[2 N]: a number for each person and response."""


class Spread(NamedTuple):
    """Variance of a mean of answers, and the deviations that it is made of."""

    variance: float
    people: Floats
    """[people], whose squares add up to the variance over people alone."""
    content: Floats
    """[responses]"""


def measure_spread(crossing: Crossing, influence: Floats, people: Floats) -> Spread:
    """Return the variance of a mean whose deviation each answer adds `influence` [N] to, 0 for answers not in it.

    Answers of one person vary together, and so do those to comparisons that share a response: V = V(people) +
    V(content) - V(both). V(content) is dyadic, the sum over responses of (sum of their influences)^2 less that over
    comparisons, which have two of them; V(both) is the same within people. With few people the difference may be too
    small, so V is no less than either. `people` are their deviations, the jackknife's.
    Sources: Cameron, Gelbach and Miller (2011), "Robust inference with multiway clustering"; Aronow, Samii and Assenova
    (2015), "Cluster-robust variance estimation for dyadic data".
    """
    twice = np.tile(influence, 2)
    by_response, own = np.bincount(crossing.response, twice), np.bincount(crossing.own, twice)
    by_comparison = np.bincount(crossing.comparison, influence)
    count = len(np.unique(crossing.comparison[influence != 0]))
    pairs = float((by_comparison**2).sum())
    content = max(float((by_response**2).sum()) - pairs, pairs) * (count / (count - 1) if count > 1 else 1.0)
    both = float((own**2).sum() - (influence**2).sum())  # a person has one vote on a comparison
    by_people = float((people**2).sum())
    variance = max(by_people + content - both, by_people, content)
    return Spread(variance, people, by_response.astype(float))


def cross_share(
    values: Rows, rows: Rows, crossing: Crossing, weights: Floats | None = None
) -> tuple[float, Interval | None]:
    """Return the share of `rows` [N] that have `values` [N], and its interval, over people and over what they judged.

    With `weights` of draws [N] Hajek's. Korn and Graubard's interval by the variance of `measure_spread`; None for one
    person.
    """
    weight = rows.astype(float) if weights is None or weights[rows].sum() <= 0 else weights * rows
    total = float(weight.sum())
    share = float(weight @ values) / total
    known = np.bincount(crossing.annotator[rows]) > 0
    sums = np.bincount(crossing.annotator[rows], (weight * values)[rows])[known].astype(float)
    sizes = np.bincount(crossing.annotator[rows], weight[rows])[known].astype(float)
    if len(sizes) < 2:
        return share, None
    spread = measure_spread(crossing, weight * (values - share) / total, jackknife_deviations(sums, sizes))
    trials = total**2 / float(weight @ weight)
    deviations = np.concatenate([spread.people, spread.content])
    return share, share_interval(share, deviations, sizes, max(round(trials), 2), trials, spread.variance)


def cross_change(
    change: float, influence: Floats, sums: Floats, weights: Floats, crossing: Crossing
) -> Interval | None:
    """Return Student's interval of a `change`, sum(sums) / sum(weights) over people; None for one person.

    Degrees of freedom by Satterthwaite: those of people are `count_freedom`'s, of content the responses that carry it.
    """
    if len(weights) < 2:
        return None
    spread = measure_spread(crossing, influence, jackknife_deviations(sums, weights))
    by_people = float((spread.people**2).sum())
    squares = by_people**2 / count_freedom(weights) + float((spread.content**4).sum())
    return student_interval(change, spread.variance, spread.variance**2 / squares if squares > 0 else 1.0)
