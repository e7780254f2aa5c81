"""How well the reward model guesses a person: made before the answer, settled after it."""

from collections import deque
from typing import NamedTuple

from likelier.intervals import wilson
from likelier.records import Judgement

LAST = 20


class Guess(NamedTuple):
    """What was guessed, as the person saw the sides; `hit` is None for a tie, which is not counted."""

    side: str
    confidence: float
    hit: bool | None


class Guesses:
    """The open guess of each comparison shown, and how the last twenty went."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, float]] = {}
        self.settled: dict[str, Guess | None] = {}
        self.hits: deque[bool] = deque(maxlen=LAST)

    def make(self, comparison_id: str, left: str, probability_left: float) -> None:
        """Remember a guess. One half says nothing and is none."""
        if probability_left != 0.5:
            self.open[comparison_id] = (left, probability_left)

    def settle(self, answer: Judgement) -> Guess | None:
        """What had been guessed of a judgement; the same again when its request is repeated."""
        if answer.key not in self.settled:
            self.settled[answer.key] = self.compare(answer)
        return self.settled[answer.key]

    def compare(self, answer: Judgement) -> Guess | None:
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

    def sentence(self) -> str:
        """`guessed 15 of your last 20 (53–89 %)`; empty before the first."""
        if not self.hits:
            return ""
        right, count = sum(self.hits), len(self.hits)
        low, high = wilson(right / count, count)
        return f"guessed {right} of your last {count} ({100 * low:.0f}–{100 * high:.0f} %)"
