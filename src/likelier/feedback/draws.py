"""How a comparison came to be asked: by the weights of an acquisition strategy or at random, with which probability.

Whoever asks what teaches most asks about hard pairs, so that a plain mean over the answers says little of all pairs.
The probability of each draw makes up for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likelier.records import Judgement

Floats = NDArray[np.float64]

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
    """What an acquisition strategy says of new comparisons.

    A new comparison is drawn in proportion to `weights` by id (absent ones have 0), but with probability `floor` at
    random. `started_first`: comparisons that somebody has begun come before new ones, as agreement needs them.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    floor: float = FLOOR
    started_first: bool = True


def draw_new(weights: ArrayLike, at_random: int, floor: float, coin: float, place: float) -> tuple[int, Draw]:
    """Return the number of the comparison that is drawn, and the draw.

    `weights` [N] are of those that may be drawn, `at_random` is one of them, each with the same chance; `coin` and
    `place` are uniform in [0, 1). The probability of i is floor / N + (1 - floor) w_i / sum(w), whichever way it was
    drawn; 1 / N where all weights are 0.
    """
    weights = np.asarray(weights, float)
    sums, count = np.cumsum(weights), len(weights)
    total = float(sums[-1])
    floor = floor if total > 0 else 1.0
    random = coin < floor
    number = at_random if random else min(int(np.searchsorted(sums, place * total, side="right")), count - 1)
    share = float(weights[number]) / total if total > 0 else 0.0
    probability = min(1.0, floor / count + (1 - floor) * share)
    return number, Draw(float(f"{probability:.9g}"), count, random)  # the digits that a ticket has


def weigh_draws(judgements: Sequence[Judgement]) -> Floats | None:
    """Return the weight of each judgement that makes up for the strategy that chose its comparison, [N], of mean near 1.

    With q the probability of a draw out of n that nobody had begun, and R that were left at the end, the weight is
    1 + R / (n - 1) (1 / (n q) - 1): a mean with these weights is unbiased for all n although each draw depended on the
    answers before, and it is the plain mean once everything was asked. Source: Farquhar, Gal and Rainforth (2021), "On
    statistical bias in active learning", R_LURE. All judgements of a comparison have its weight, and those of a
    comparison that was not asked by a strategy have 1. None: no comparison was.
    """
    drawn = [(each, draw) for each in judgements if (draw := Draw.from_extra(each.extra))]
    if not drawn:
        return None
    left = max(drawn, key=lambda entry: (entry[0].created_at or "", -entry[1].of))[1].of - 1
    weight_of = {each.comparison_id: weigh_draw(draw, left) for each, draw in drawn}
    return np.array([weight_of.get(each.comparison_id, 1.0) for each in judgements])


def weigh_draw(draw: Draw, left: int) -> float:
    """Return the weight of a draw, with `left` comparisons not begun at the end."""
    others = draw.of - 1
    return 1.0 + min(left, others) / others * (1 / (draw.of * draw.probability) - 1) if others else 1.0
