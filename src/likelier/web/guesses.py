"""How often a reward model guesses a person's answers: each guess is made before the answer and scored after it."""

from collections import deque
from typing import NamedTuple

from likelier.records import Judgement

LAST = 20
"""Guesses in the summary."""


class Guess(NamedTuple):
    """A guess, with the sides as the person saw them; `hit` is None for a tie, which does not count."""

    side: str
    confidence: float
    hit: bool | None


class Guesses:
    """The open guess for each comparison shown to one person, and the outcomes of the last ones."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, float]] = {}
        self.scored: dict[str, Guess | None] = {}
        self.hits: deque[bool] = deque(maxlen=LAST)

    def add(self, comparison_id: str, left: str, probability_left: float) -> None:
        """Keep a guess until the answer. A probability of one half is no guess."""
        if probability_left != 0.5:
            self.open[comparison_id] = (left, probability_left)

    def score(self, answer: Judgement) -> Guess | None:
        """Return the guess for a judgement, and if it was right; the same again when the request is repeated."""
        if answer.key not in self.scored:
            self.scored[answer.key] = self.compare(answer)
        return self.scored[answer.key]

    def compare(self, answer: Judgement) -> Guess | None:
        """Return the guess for this comparison beside the answer."""
        if answer.comparison_id not in self.open:
            return None
        left, probability = self.open.pop(answer.comparison_id)
        if left != answer.left:
            probability = 1.0 - probability
        side = "left" if probability > 0.5 else "right"
        hit = None if answer.choice == "tie" else side == answer.choice
        if hit is not None:
            self.hits.append(hit)
        return Guess(side, round(max(probability, 1 - probability), 2), hit)

    def summary(self) -> str:
        """`guessed 15 of your last 20 (51–91 %)`; empty before the first."""
        if not self.hits:
            return ""
        from likelier.intervals import clopper_pearson  # scipy, which starts slowly

        num_right, count = sum(self.hits), len(self.hits)
        low, high = clopper_pearson(num_right / count, count)
        return f"guessed {num_right} of your last {count} ({100 * low:.0f}–{100 * high:.0f} %)"
