"""How well the reward model guesses a person: made before the answer, settled after it."""

import math
from collections import deque

LAST = 20


class Guesses:
    """The open guess of each comparison shown, and how the last twenty went. Ties are not counted."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, float]] = {}
        self.hits: deque[bool] = deque(maxlen=LAST)

    def make(self, comparison_id: str, left: str, probability_left: float) -> None:
        self.open[comparison_id] = (left, probability_left)

    def settle(self, comparison_id: str, left: str, choice: str) -> dict[str, object] | None:
        """What had been guessed, as seen by the person; None if nothing was, or if it is settled already."""
        if comparison_id not in self.open:
            return None
        shown_left, probability = self.open.pop(comparison_id)
        if shown_left != left:
            probability = 1.0 - probability
        side = "left" if probability >= 0.5 else "right"
        if choice != "tie":
            self.hits.append(side == choice)
        return {"side": side, "confidence": round(max(probability, 1 - probability), 2), "hit": side == choice}

    def sentence(self) -> str:
        """`guessed 15 of your last 20 (53-89 %)`; empty before the first."""
        if not self.hits:
            return ""
        low, high = wilson(sum(self.hits), len(self.hits))
        return f"guessed {sum(self.hits)} of your last {len(self.hits)} ({100 * low:.0f}–{100 * high:.0f} %)"


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson(15, 20)]
    [0.531, 0.888]
    """
    share, square = hits / count, z * z / count
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return centre - half, centre + half
