"""Intervals of log-odds of answers that say how much better a side is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from likelier.records import JudgedComparison, Preference


def has_strength(pair: Preference) -> bool:
    """Return True for a pair whose answer says how much better."""
    return pair.lower != 0.0 or pair.upper is not None


@dataclass(frozen=True)
class Strengths:
    """Thresholds of people, and how often the panel gives each strength."""

    thresholds: Mapping[str, Sequence[float] | None]
    """Of each annotator: log-odds from which a side is better, better by 2, and by 3; None if unknown."""
    shares: Mapping[int, float]
    """Share of the answers with known thresholds that have this strength; 0 is a tie."""

    @classmethod
    def count(cls, kept: Sequence[JudgedComparison], thresholds: Mapping[str, Sequence[float] | None]) -> "Strengths":
        """Count the strengths of judgements."""
        read = [cls(thresholds, {}).read(item) for item in kept]
        counts = Counter(strength for strength in read if strength is not None)
        return cls(thresholds, {strength: count / counts.total() for strength, count in counts.items()})

    def read(self, item: JudgedComparison) -> int | None:
        """Return 1 to 3 for an answer with a strength, 0 for a tie of somebody whose ties have thresholds; else None.

        None of what follows from ratings and rankings, and of a reviewer's decisions, too.
        """
        thresholds = self.thresholds.get(item.judgement.annotator)
        if not thresholds or item.target is not None or item.judgement.adjudicates:
            return None
        if item.judgement.choice == "tie":
            return 0 if thresholds[0] > 0 else None
        return item.judgement.strength

    def describe(self, pairs: Iterable[Preference]) -> dict[str, Any]:
        """Return the number of pairs that say how much better and their people's thresholds; nothing if none does."""
        graded = [pair.annotator for pair in pairs if has_strength(pair)]
        thresholds = {name: self.thresholds[name] for name in sorted(set(graded))}
        return {"strengths": {"pairs": len(graded), "thresholds": thresholds}} if graded else {}

    def find_interval(self, item: JudgedComparison, guess: float) -> dict[str, Any]:
        """Return `lower`, `upper` and `chance` of an answer with a strength; nothing of others.

        A careless answer is this side with probability `guess`, and has a strength drawn from the panel's.
        """
        strength, thresholds = self.read(item), self.thresholds.get(item.judgement.annotator)
        if strength is None or not thresholds:
            return {}
        ends = [-thresholds[0], *thresholds, None]
        chance = self.shares[strength] * (guess if strength else 1.0)
        return {"lower": ends[strength], "upper": ends[strength + 1], "chance": round(chance, 6)}


NO_STRENGTHS = Strengths({}, {})
"""Of people without thresholds: every answer counts by its side."""
