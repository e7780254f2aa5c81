"""Weights for balance: between people, groups of people with one taste, prompts, and topics of prompts.

Each has a dial from 0, every judgement counts, to 1, every person (group, prompt, topic) counts. The weights of a unit
with n judgements sum to a total proportional to n^(1 - dial). Where several dials are turned the totals are met at once
by raking (Deming and Stephan 1940): weights are scaled to one kind of totals after the other until none changes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likelier.errors import ConfigError, DataError
from likelier.records import Judgement

Floats = NDArray[np.float64]

MAX_WEIGHT = 4.0
"""Nobody's judgement counts more than so many times the mean."""
MAX_ROUNDS, TOLERANCE = 100, 1e-6


@dataclass(frozen=True)
class Balance:
    """Dials from 0, every judgement counts, to 1: every person, group, prompt or topic counts.

    The default for people is between: who judged n times counts sqrt(n).
    """

    people: float = 0.5
    groups: float = 0.0
    prompts: float = 0.0
    topics: float = 0.0

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            if not 0 <= (dial := getattr(self, name)) <= 1:  # NaN too
                raise ConfigError(f"balance of {name} {dial}: from 0 (every judgement counts) to 1 (all {name} alike)")


def choose_balance(people: float | None, groups: float, prompts: float, topics: float, is_checked: bool) -> Balance:
    """Return the dials as given; for people None is halfway if the judgements are checked, else 0."""
    return Balance((0.5 if is_checked else 0.0) if people is None else people, groups, prompts, topics)


@dataclass(frozen=True)
class Fading:
    """Weights that halve with each half-life of age, for tastes that change."""

    half_life: float
    unit: str
    """`days` or `rounds`."""
    find_age: Callable[[Judgement], float]
    """The age of a judgement in that unit."""

    def fade(self, weights: Sequence[float], judgements: Sequence[Judgement]) -> list[float]:
        """Return weights times 2^(-age / half-life), of mean 1 again."""
        ages = np.array([self.find_age(judgement) for judgement in judgements])
        # From the youngest: what is left of very old ones alone must not be 0 / 0.
        faded = np.array(weights) * 0.5 ** ((ages - ages.min()) / self.half_life)
        return [float(weight) for weight in faded / faded.mean()]


@dataclass(frozen=True)
class TasteGroups:
    """Groups of people with tastes of their own, whose taste to learn, and of when."""

    group_of: Mapping[str, int] = field(default_factory=dict)
    """The number of each member's group; who is in none is left out of it."""
    learn: int | None = None
    """Number of the group whose taste is learned, from what its members and people in no group say; None: of all."""

    fading: Fading | None = None
    """None: however old, all answers weigh alike."""

    def describe(self) -> dict[str, Any]:
        """Return the choice for a folder's card."""
        faded = {"half_life": f"{self.fading.half_life:g} {self.fading.unit}"} if self.fading else {}
        return {"learn_group": self.learn} | faded

    def has_taste(self, person: str) -> bool:
        """Return True for people to learn from."""
        return self.learn is None or self.group_of.get(person, self.learn) == self.learn


@dataclass(frozen=True)
class Margin:
    """Units of one kind that judgements belong to."""

    units: Sequence[str]
    """The unit of each judgement; "" where it is unknown."""
    dial: float


def rake_weights(margins: Sequence[Margin], count: int) -> list[float]:
    """Return weights of mean 1, [count], whose sums over units are those of the dials, none above `MAX_WEIGHT`.

    A judgement without a unit counts as one of the median unit: anonymous people, people without a group.
    """
    turned = [margin for margin in margins if margin.dial > 0]
    weights = np.ones(count)
    for _ in range(MAX_ROUNDS if len(turned) > 1 else 1):
        before = weights.copy()
        for margin in turned:
            weights = weights * scale_to_margin(margin, weights)
        weights /= weights.mean()
        if np.abs(weights - before).max() < TOLERANCE:
            break
    weights = np.minimum(weights, MAX_WEIGHT)
    return [float(weight) for weight in weights / weights.mean()]


def scale_to_margin(margin: Margin, weights: Floats) -> Floats:
    """Return the factor of each judgement that brings its unit's sum to n^(1 - dial)."""
    counts, sums = defaultdict[str, int](int), defaultdict[str, float](float)
    for unit, weight in zip(margin.units, weights.tolist(), strict=True):
        counts[unit] += 1
        sums[unit] += weight
    known = [count for unit, count in counts.items() if unit]
    typical = median(known) if known else 1
    factors = {unit: count ** (1 - margin.dial) / sums[unit] for unit, count in counts.items()}
    if "" in factors:
        factors[""] = counts[""] * typical**-margin.dial / sums[""]
    return np.array([factors[unit] for unit in margin.units])


def measure_effect(weights: Sequence[float], margins: dict[str, Margin]) -> dict[str, float | None]:
    """Return how many judgements, people, groups, prompts and topics count: (sum w)^2 / sum w^2 (Kish 1965).

    Of units w is the sum of their weights. None where no unit is known.
    """
    effect: dict[str, float | None] = {"judgements": count_effective(weights)}
    for name, margin in margins.items():
        sums = defaultdict[str, float](float)
        for unit, weight in zip(margin.units, weights, strict=True):
            if unit:
                sums[unit] += weight
        effect[name] = count_effective(list(sums.values())) if sums else None
    return effect


def count_effective(weights: Sequence[float]) -> float:
    """Return Kish's effective number: n for equal weights, towards 1 where one weighs most."""
    return round(math.fsum(weights) ** 2 / math.fsum(weight**2 for weight in weights), 2)


def fade_by_day(half_life: float, judgements: Sequence[Judgement]) -> Fading:
    """Return a fading by the time of answers, from the latest on.

    ConfigError: a half-life that is not above 0. DataError: answers without a time.
    """
    if not 0 < half_life < math.inf:
        raise ConfigError(f"--half-life {half_life}: a number of days above 0")
    times = [datetime.fromisoformat(each.created_at) for each in judgements if each.created_at]
    if missing := len(judgements) - len(times):
        raise DataError(f"--half-life: {missing} of {len(judgements)} judgements have no time (`created_at`)")
    latest = max(map(to_days, times), default=0.0)
    return Fading(half_life, "days", lambda each: latest - to_days(datetime.fromisoformat(str(each.created_at))))


def to_days(time: datetime) -> float:
    """Return days since 1970; a time without a zone is taken for UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() / 86_400
