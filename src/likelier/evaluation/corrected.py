"""Win rates by an automatic judge, corrected by people's judgements of some of the pairs (prediction-powered).

A judge that scores everything is precise and may be wrong; people are right, by definition, and few. With Y the share
of people who prefer b on the n pairs that they judged, and f the judge's verdicts (1, 1/2 or 0) on these and N others,

    rate = mean(Y) + power * (mean of f over the N others - mean of f over the n)

is unbiased for any `power` if the n are a random part, and its variance is least where `power` is the slope of the
first term on the second. A judge who knows nothing of people's taste gets a power near 0. Source: PPI++, Angelopoulos,
Duchi and Zrnic (2023), equations 3 and 6, here with prompts as clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from likelier.intervals import Floats, Interval, rate_interval, share_interval, sum_clusters

MIN_OF_TOPIC = 10
"""Pairs of a topic on which people and a judge take a side, for their agreement on it to be shown."""
MIN_JUDGED = 20
"""Pairs that people must have judged: from fewer no power can be estimated."""


@dataclass(frozen=True)
class Agreement:
    """How often a judge and people take the same side, of the pairs on which both take one."""

    rate: float
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class CorrectedWinRate:
    """People's win rate of b, estimated from their judgements and a judge's."""

    win_rate: float
    interval: Interval | None
    power: float
    """How much the judge counts: 0 not at all, 1 as much as people."""
    judged: int
    """Pairs with people's judgements."""
    others: int
    """Pairs with the judge's alone."""
    people_alone: float
    people_alone_interval: Interval | None
    agreement: Agreement | None
    """None: there is no pair on which both take a side."""
    agreement_longer: Agreement | None = None
    """Of the pairs whose longer response is b's."""
    agreement_shorter: Agreement | None = None
    agreement_by_topic: Mapping[str, Agreement] = field(default_factory=dict)
    """By topic of the prompts, of those with at least `MIN_OF_TOPIC` pairs on which both take a side."""

    def to_json(self) -> dict[str, Any]:
        """Return the record in `evaluation.json`."""
        return asdict(self) | {"gain": self.gain}

    @property
    def gain(self) -> float | None:
        """How much shorter the interval is than people's alone, as a share of that; negative: longer."""
        if self.interval is None or self.people_alone_interval is None:
            return None
        alone = self.people_alone_interval[1] - self.people_alone_interval[0]
        return 1 - (self.interval[1] - self.interval[0]) / alone


def correct_win_rate(
    people: ArrayLike, judge: ArrayLike, clusters: Sequence[str], longer: ArrayLike, topics: ArrayLike | None = None
) -> CorrectedWinRate | None:
    """Return b's win rate from people's shares [N], NaN where nobody judged, and a judge's wins [N].

    Clusters are prompts, `topics` [N] their names, empty for none. `longer` [N] is above 0 where b's response is the
    longer one, below 0 where a's is. The pairs that people judged must be a random part of all. None: they judged fewer
    than `MIN_JUDGED`, or all.
    """
    shares, wins = np.asarray(people, float), np.asarray(judge, float)
    is_judged = ~np.isnan(shares)
    if not MIN_JUDGED <= is_judged.sum() < len(shares):
        return None
    names = np.asarray(clusters)
    own, predicted = shares[is_judged], wins[is_judged]
    alone_interval = rate_interval(own, names[is_judged].tolist())
    rate, power, deviations = estimate_rate(shares, wins, clusters)
    sizes = sum_clusters(own, names[is_judged].tolist())[1]
    interval = share_interval(rate, deviations, sizes, len(own), float(len(shares)))
    length = np.asarray(longer, float)[is_judged]
    parts = [np.ones(len(own), bool), length > 0, length < 0]
    all_pairs, longer_ones, shorter_ones = (
        measure_agreement(own[part], predicted[part], names[is_judged][part].tolist()) for part in parts
    )
    return CorrectedWinRate(
        rate,
        interval,
        power,
        len(own),
        int(len(shares) - len(own)),
        float(own.mean()),
        alone_interval,
        all_pairs,
        longer_ones,
        shorter_ones,
        measure_by_topic(own, predicted, names[is_judged], np.asarray(topics)[is_judged]) if topics is not None else {},
    )


def measure_by_topic(own: Floats, predicted: Floats, clusters: Any, topics: Any) -> dict[str, Agreement]:
    """Return the agreement of people's shares and the judge's wins in each topic with enough pairs, sorted by name."""
    parts = {str(topic): topics == topic for topic in sorted(set(topics.tolist())) if topic}
    found = {
        name: measure_agreement(own[part], predicted[part], clusters[part].tolist()) for name, part in parts.items()
    }
    return {name: each for name, each in found.items() if each and each.n >= MIN_OF_TOPIC}


def estimate_rate(shares: Floats, wins: Floats, clusters: Sequence[str]) -> tuple[float, float, Floats]:
    """Return the rate, the power, and each cluster's deviation, [clusters], whose squares add up to the variance.

    A cluster's deviation is the sum of its rows' influences on the rate, those on the power left out (they vanish at
    the best power). C / (C - 2) makes up for the mean and the power that were fitted to the same C judged clusters.
    """
    is_judged = ~np.isnan(shares)
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    num_judged, num_others = is_judged.sum(), (~is_judged).sum()
    rate_alone, known, unknown = shares[is_judged].mean(), wins[is_judged].mean(), wins[~is_judged].mean()
    own = np.bincount(codes[is_judged], shares[is_judged] - rate_alone, codes.max() + 1) / num_judged
    shift = np.bincount(
        codes, np.where(is_judged, (wins - known) / num_judged, (unknown - wins) / num_others), codes.max() + 1
    )
    power = float(own @ shift / (shift @ shift)) if shift.any() else 0.0
    power = min(max(power, 0.0), 1.0)
    num_clusters = len(np.unique(codes[is_judged]))
    deviations = (own - power * shift) * np.sqrt(num_clusters / max(num_clusters - 2, 1))
    return float(np.clip(rate_alone + power * (unknown - known), 0, 1)), power, deviations


def measure_agreement(shares: Floats, wins: Floats, clusters: Sequence[str]) -> Agreement | None:
    """Return how often people's majority and the judge take the same side; None without a pair where both take one."""
    takes_side = (shares != 0.5) & (wins != 0.5)
    if not takes_side.any():
        return None
    same = ((shares > 0.5) == (wins > 0.5))[takes_side].astype(float)
    chosen = [cluster for cluster, counts in zip(clusters, takes_side, strict=True) if counts]
    return Agreement(float(same.mean()), rate_interval(same, chosen), len(same))
