"""Votes, one for each person and comparison, and the consistency of repeated answers."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from likelier.records import JudgedComparison


class Repeats(NamedTuple):
    """Answers to comparisons that the same person had answered before."""

    same: int
    """As the first time."""
    total: int


def first_answers(judged: Sequence[JudgedComparison]) -> list[JudgedComparison]:
    """Return each person's first answer to each comparison, in chronological order: one person has one vote on it.

    Anonymous answers ("") may be of different people, and all stay.
    """
    seen: set[tuple[str, str]] = set()
    votes = []
    for entry in judged:
        vote = (entry.judgement.annotator, entry.judgement.comparison_id)
        if vote not in seen:
            votes.append(entry)
        if entry.judgement.annotator:
            seen.add(vote)
    return votes


def count_repeats(judged: Sequence[JudgedComparison]) -> dict[str, Repeats]:
    """Return how often each person answered a comparison again, sides swapped or not, and as the first time."""
    answers: defaultdict[tuple[str, str], list[str | None]] = defaultdict(list)
    for entry in judged:
        given = entry.judgement
        preferred = given.left if given.choice == "left" else given.right if given.choice == "right" else None
        answers[given.annotator, given.comparison_id].append(preferred)
    repeats: dict[str, Repeats] = {}
    for (annotator, _), (first, *later) in answers.items():
        same, count = repeats.get(annotator, Repeats(0, 0))
        repeats[annotator] = Repeats(same + later.count(first), count + len(later))
    return repeats
