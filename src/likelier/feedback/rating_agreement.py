"""Agreement of ratings of the same response: Krippendorff's alpha of each kind and scale, with intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from likelier.feedback.agreement import tabulate
from likelier.feedback.raters import categorise, split_scales
from likelier.records import RatedResponse

MAX_VALUES = 100
"""Different ratings of a scale up to which their differences are taken as they are."""


@dataclass(frozen=True)
class RatingAgreement:
    """Agreement of the ratings of one kind and scale; anonymous ratings are left out."""

    kind: str
    scale: Any
    """`[1, 10]`, its ends; None where they are unknown."""
    responses: int
    """Responses rated by two people or more."""
    alpha_ordinal: float | None
    """Krippendorff's alpha by the order of the values; None where it is undefined."""
    alpha_ordinal_interval: tuple[float, float] | None
    """95%, over responses."""
    alpha_numeric: float | None
    """The same by squared differences of the values; None too for scales of more than `MAX_VALUES` values."""
    alpha_numeric_interval: tuple[float, float] | None


def measure_rating_agreement(rated: Sequence[RatedResponse]) -> tuple[RatingAgreement, ...]:
    """Return the agreement of each kind and scale of ratings; a person's first rating of a response counts."""
    return tuple(
        measure_scale(kind, named)
        for kind, entries in split_scales(rated)
        if (named := [entry for entry in entries if entry.rating.annotator])
    )


def measure_scale(kind: str, entries: Sequence[RatedResponse]) -> RatingAgreement:
    """Return the agreement of ratings of one kind and scale."""
    who = [entry.response.id for entry in entries], [entry.rating.annotator for entry in entries]
    values = np.array([entry.rating.value for entry in entries])
    ordered = tabulate(*who, categorise(values)[0].tolist(), "ordinal")
    few = len(np.unique(values)) <= MAX_VALUES
    numbers = tabulate(*who, values.tolist(), "interval") if few else None
    scale = entries[0].rating.extra.get("scale")
    return RatingAgreement(
        kind,
        json.loads(json.dumps(scale)),
        len(ordered.counts),
        ordered.alpha("ordinal"),
        ordered.alpha_interval("ordinal"),
        numbers.alpha("interval") if numbers else None,
        numbers.alpha_interval("interval") if numbers else None,
    )
