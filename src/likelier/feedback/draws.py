"""How a comparison came to be asked: by the weights of an acquisition strategy or at random, with which probability.

Whoever asks what teaches most asks about hard pairs, so that a plain mean over the answers says little of all pairs.
The probability of each draw makes up for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ASKED = "asked"
"""Key in `Judgement.extra` of the draw of its comparison; absent where each had the same chance."""
FLOOR = 0.2
"""Share of new comparisons that are drawn at random whatever a strategy says."""


class Draw(NamedTuple):
    """A comparison was drawn with `probability` out of `of` that nobody had begun.

    `random`: by the floor, which gave each the same chance; otherwise by the strategy's weights.
    """

    probability: float
    of: int
    random: bool

    def to_text(self) -> str:
        """Return the draw as a part of a ticket."""
        return f"{self.probability:.9g}-{self.of}-{int(self.random)}"

    @classmethod
    def from_text(cls, text: str) -> "Draw":
        """Return the draw of a ticket that was checked."""
        probability, of, random = text.rsplit("-", 2)
        return cls(float(probability), int(of), random == "1")

    @classmethod
    def from_extra(cls, extra: Mapping[str, Any]) -> "Draw | None":
        """Return the draw in `Judgement.extra`; None where there is none, or none that can be right."""
        match extra.get(ASKED):
            case {"probability": int() | float() as probability, "of": int() as of, "random": bool() as random}:
                return cls(float(probability), of, random) if 0 < probability <= 1 <= of else None
        return None


@dataclass(frozen=True)
class Priorities:
    """Weights of new comparisons by an acquisition strategy.

    A new comparison is drawn in proportion to `weights` by id (absent ones have 0), but with probability `floor` at
    random. `started_first`: comparisons that somebody has begun come before new ones, as agreement needs them.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    floor: float = FLOOR
    started_first: bool = True
