"""Judgements as arrays: votes, one for each person and comparison, and the consistency of repeated answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.agreement import encode
from likelier.feedback.inclusion import find_chance, weigh_draws
from likelier.feedback.shares import Share
from likelier.feedback.style import FEATURES, count_style
from likelier.records import JudgedComparison, Judgement, Response

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
SIGNS = {"left": 1.0, "right": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class Votes:
    """Judgements as arrays, [N] each, in chronological order."""

    annotator: Indices
    """Index into the sorted names; -1 for anonymous judgements."""
    comparison: Indices
    left: Indices
    right: Indices
    """Numbers of the responses on either side."""
    sign: Floats
    """1 left, -1 right, 0 tie"""
    left_is_first: Floats
    """1 where the left response comes first by id, else -1: converts sides to labels of responses."""
    longer: Floats
    """1 where the left response is longer in characters, -1 where the right one is, else 0 (media files)."""
    seconds: Floats
    """NaN where no time was recorded."""
    has_sides: NDArray[np.bool_]
    """False where it is unknown which response stood on the left."""
    style: NDArray[np.int8] | None = None
    """[N, FEATURES]: 1 where the left response has more of a feature of `style`, -1 where the right one has, else 0."""
    created_at: NDArray[np.object_] | None = None
    """Time of the answer as it is stored, None where it is unknown."""
    gold: Floats | None = None
    """The owner's answer, as `sign`; NaN where there is none."""
    weight: Floats | None = None
    """Makes up for the strategy that chose the comparison (`weigh_draws`); None where none did."""
    by_chance: NDArray[np.bool_] | None = None
    """False where the strategy drew the comparison; None where none did."""
    strength: Indices | None = None
    """How much better the chosen side is, 1 to 3; 0 where nothing is said of it. None where nobody said anything."""
    evidence: Floats | None = None
    """Of how many independent answers each is worth, as the pairs of one ranking are not; None where all are of one."""

    @cached_property
    def labels(self) -> Floats:
        """1 where the first response by id was preferred, -1 where the second one was, 0 for a tie."""
        return self.sign * self.left_is_first

    @cached_property
    def first_answers(self) -> Indices:
        """For each judgement the index of the same person's first one of the comparison; its own if anonymous."""
        own = np.arange(len(self.sign))
        named = self.annotator >= 0
        keys = np.where(named, self.annotator * (int(self.comparison.max(initial=0)) + 1) + self.comparison, -1 - own)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return np.asarray(first[inverse], np.int64)

    @cached_property
    def is_vote(self) -> NDArray[np.bool_]:
        """True for first answers: one person has one vote on a comparison."""
        return np.asarray(self.first_answers == np.arange(len(self.sign)), bool)

    def select(self, rows: NDArray[np.bool_]) -> "Votes":
        """Return the judgements where `rows` is True; these themselves, not copied, where it is True of all."""
        if rows.all():
            return self
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})

    def count_repeats(self, num_annotators: int) -> Share:
        """Count each person's repeated answers, sides swapped or not, and those that differ from the first one."""
        repeated = np.flatnonzero(~self.is_vote)
        firsts = self.first_answers[repeated]
        differs = self.labels[repeated] != self.labels[firsts]
        events, trials = (
            np.bincount(self.annotator[rows], minlength=num_annotators) for rows in (repeated[differs], repeated)
        )
        return Share(events, trials, np.bincount(self.annotator[np.unique(firsts)], minlength=num_annotators))


def arrange_votes(
    judged: Sequence[JudgedComparison], gold: Mapping[str, str | None] | None = None
) -> tuple[Votes, list[str]]:
    """Return judgements as arrays, and the sorted names of the people who gave them.

    `gold` maps comparisons to the id of the better response, None for a tie. One pass over the records; everything
    else costs what arrays cost.
    """
    given = [entry.judgement for entry in judged]
    names = sorted({judgement.annotator for judgement in given} - {""})
    numbers = {name: number for number, name in enumerate(names)} | {"": -1}
    left_ids, right_ids = [judgement.left for judgement in given], [judgement.right for judgement in given]
    responses = {judgement.left: entry.left for judgement, entry in zip(given, judged, strict=True)}
    responses |= {judgement.right: entry.right for judgement, entry in zip(given, judged, strict=True)}
    codes = {response: code for code, response in enumerate(sorted(responses))}
    lengths = np.array([measure_length(responses[response]) for response in codes])
    left, right = (np.array([codes[each] for each in ids], np.int64) for ids in (left_ids, right_ids))
    gap = lengths[left] - lengths[right] if given else np.zeros(0)
    counts = np.array([count_style(responses[response].text) for response in codes], np.int32).reshape(
        -1, len(FEATURES)
    )
    weight = weigh_draws(given)
    evidence = np.array([entry.weight for entry in judged])
    strength = np.array([judgement.strength or 0 for judgement in given], np.int64)
    votes = Votes(
        annotator=np.array([numbers[judgement.annotator] for judgement in given], np.int64),
        comparison=encode([judgement.comparison_id for judgement in given])[0],
        left=left,
        right=right,
        sign=np.array([SIGNS[judgement.choice] for judgement in given]),
        left_is_first=np.where(left < right, 1.0, -1.0),
        longer=np.sign(np.nan_to_num(gap)),
        seconds=np.array([judgement.duration_seconds for judgement in given], dtype=float),
        has_sides=np.array([judgement.extra.get("sides") != "unknown" for judgement in given], bool),
        style=np.sign(counts[left] - counts[right]).astype(np.int8),
        created_at=np.array([judgement.created_at for judgement in given], object),
        gold=np.array([find_gold_sign(judgement, gold) for judgement in given]) if gold else None,
        weight=weight,
        by_chance=None if weight is None else find_chance(given),
        strength=strength if strength.any() else None,
        evidence=evidence if (evidence != 1).any() else None,
    )
    return votes, names


def find_gold_sign(judgement: Judgement, gold: Mapping[str, str | None]) -> float:
    """Return the owner's answer to a judged comparison as a sign; NaN without one."""
    better = gold.get(judgement.comparison_id, "")
    return {judgement.left: 1.0, judgement.right: -1.0, None: 0.0}.get(better, np.nan)


def measure_length(response: Response) -> float:
    """Return the characters of a response; NaN for a media file."""
    return float(len(response.text)) if response.media is None else float("nan")
