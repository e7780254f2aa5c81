"""Draws of new comparisons by a strategy's weights, and the weights of answers that make up for them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likelier.feedback.draws import Draw
from likelier.records import Judgement

Floats = NDArray[np.float64]


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
    """Return each judgement's weight that makes up for the strategy that chose its comparison, [N], of mean near 1.

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


def find_chance(judgements: Sequence[Judgement]) -> NDArray[np.bool_]:
    """Return which judgements are of comparisons that chance drew, [N]: by the floor, or without a strategy."""
    drawn = {each.comparison_id for each in judgements if (draw := Draw.from_extra(each.extra)) and not draw.random}
    return np.array([each.comparison_id not in drawn for each in judgements], bool)


def count_effective(weights: Floats) -> float:
    """Return how many judgements of equal weight are worth as much (Kish): (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / (weights @ weights))


def weigh_draw(draw: Draw, left: int) -> float:
    """Return the weight of a draw, with `left` comparisons not begun at the end."""
    others = draw.of - 1
    return 1.0 + min(left, others) / others * (1 / (draw.of * draw.probability) - 1) if others else 1.0
