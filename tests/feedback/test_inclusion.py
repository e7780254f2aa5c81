"""Draws by weights and at random, and the weights that make up for them."""

import numpy as np
import pytest

from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.inclusion import draw_new, weigh_draws
from likelier.records import Judgement


def judge(comparison: str, draw: Draw | None = None, created_at: str = "2026-01-01") -> Judgement:
    extra = {ASKED: draw._asdict()} if draw else {}
    return Judgement(comparison, "ann", "a", "b", "left", extra=extra, created_at=created_at)


def test_the_coin_decides_between_chance_and_weights_and_the_probability_counts_both_ways():
    weights = [0.0, 3.0, 1.0]
    assert draw_new(weights, 0, 0.2, coin=0.1, place=0.5) == (0, Draw(0.0666666667, 3, True))
    assert draw_new(weights, 1, 0.2, coin=0.1, place=0.5) == (1, Draw(0.666666667, 3, True))
    assert draw_new(weights, 0, 0.2, coin=0.2, place=0.0) == (1, Draw(0.666666667, 3, False))
    assert draw_new(weights, 0, 0.2, coin=0.2, place=0.999999) == (2, Draw(0.266666667, 3, False))


def test_without_any_weight_each_has_the_same_chance():
    assert draw_new([0.0, 0.0, 0.0, 0.0], 2, 0.2, coin=0.9, place=0.9) == (2, Draw(0.25, 4, True))


def test_draws_are_as_frequent_as_their_probability_says():
    generator, weights = np.random.default_rng(0), np.array([0.0, 3.0, 1.0, 0.0])
    numbers = [
        draw_new(weights, int(generator.integers(4)), 0.4, *generator.random(2).tolist())[0] for _ in range(20_000)
    ]
    expected = np.array([0.1, 0.1 + 0.45, 0.1 + 0.15, 0.1])
    np.testing.assert_allclose(np.bincount(numbers) / 20_000, expected, atol=0.012)


def test_a_ticket_gives_the_draw_back_to_the_last_digit():
    draw = draw_new(np.ones(37_000), 5, 0.2, 0.1, 0.3)[1]
    assert Draw.from_text(draw.to_text()) == draw
    assert draw.to_text() == "2.7027027e-05-37000-1"


@pytest.mark.parametrize("asked", [{"probability": 0, "of": 3, "random": True}, {"probability": 0.5}, "x", None])
def test_what_is_no_draw_is_read_as_none(asked):
    assert Draw.from_extra({ASKED: asked}) is None


def test_the_weighted_mean_is_unbiased_for_all_that_could_be_asked_although_draws_depend_on_answers():
    values, floor = np.array([0.0, 1.0, 5.0, 2.0]), 0.3
    total = expected = 0.0
    for first in range(4):
        q_first = floor / 4 + (1 - floor) * [0.1, 0.2, 0.3, 0.4][first]
        rest = [each for each in range(4) if each != first]
        favourite = rest[0] if values[first] > 1 else rest[2]  # the second draw depends on the first answer
        for second in rest:
            q_second = floor / 3 + (1 - floor) * (second == favourite)
            draws = [judge("1", Draw(q_first, 4, False)), judge("2", Draw(q_second, 3, False), "2026-01-02")]
            weights = weigh_draws(draws)
            expected += q_first * q_second * float(weights @ values[[first, second]]) / 2
            total += q_first * q_second
    assert total == pytest.approx(1.0)
    assert expected == pytest.approx(2.0)


def test_all_judgements_of_a_comparison_weigh_alike_and_one_is_the_weight_of_the_others():
    drawn = Draw(0.5, 10, False)
    weights = weigh_draws([judge("1", drawn), judge("2"), judge("1"), judge("3", Draw(0.02, 6, True), "2026-01-03")])
    # 5 are left: 1 + 5/9 (1/5 - 1) = 0.5556, and 1 + 5/5 (1/0.12 - 1) = 8.3333.
    np.testing.assert_allclose(weights, [5 / 9, 1.0, 5 / 9, 25 / 3])
    assert weigh_draws([judge("1"), judge("2")]) is None


def test_once_everything_was_asked_all_weigh_the_same():
    draws = [Draw(0.9, 3, False), Draw(0.7, 2, False), Draw(1.0, 1, False)]
    judged = [judge(str(number), draw, f"2026-01-0{number + 1}") for number, draw in enumerate(draws)]
    np.testing.assert_allclose(weigh_draws(judged), [1.0, 1.0, 1.0])
