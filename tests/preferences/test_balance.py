"""Weights for balance, worked by hand."""

import pytest

from likelier.errors import ConfigError, DataError
from likelier.preferences.balance import (
    Balance,
    Fading,
    Margin,
    count_effective,
    fade_by_day,
    measure_effect,
    rake_weights,
)
from likelier.records import Judgement


def balance_people(people: list[str]) -> list[float]:
    return rake_weights([Margin(people, 0.5), Margin(["x"] * len(people), 0.0)], len(people))


def test_weights_balance_people() -> None:
    # raw 1/sqrt(1) and 1/sqrt(4): mean (1 + 4 * 0.5) / 5 = 0.6
    assert balance_people(["ann", *["bob"] * 4]) == pytest.approx([1 / 0.6, *[0.5 / 0.6] * 4])
    assert balance_people(["", "", ""]) == [1.0, 1.0, 1.0]
    # the unknown one counts like the median person, who has 4
    assert balance_people(["bob"] * 4 + [""]) == pytest.approx([1.0] * 5)


def test_no_weight_is_far_above_the_others() -> None:
    weights = balance_people(["ann", *["bob"] * 2500])
    # raw 1 and 0.02, mean 0.0204: ann's 49 is capped at 4, all scaled to mean 1 again
    assert weights[0] / weights[1] == pytest.approx(4 / (0.02 / ((1 + 50) / 2501)))
    assert sum(weights) / len(weights) == pytest.approx(1)


@pytest.mark.parametrize(("dial", "expected"), [(0.0, [1.0, 1.0, 1.0, 1.0]), (1.0, [2 / 3, 2 / 3, 2 / 3, 2.0])])
def test_ends_of_the_dial(dial: float, expected: list[float]) -> None:
    assert rake_weights([Margin(["ann", "ann", "ann", "bob"], dial)], 4) == pytest.approx(expected)


def test_several_dials_at_once() -> None:
    people, topics = ["ann", "ann", "ann", "bob", "bob"], ["x", "x", "y", "x", "y"]
    weights = rake_weights([Margin(people, 1.0), Margin(topics, 1.0)], 5)
    assert sum(weights[:3]) == pytest.approx(2.5, abs=1e-4)
    assert weights[2] + weights[4] == pytest.approx(2.5, abs=1e-4)
    # raking keeps the odds ratio of the counts, 2 * 1 / (1 * 1): with sums A, b, b, A A / b is sqrt(2)
    a, b = 1.25 * 2**0.5 / (1 + 2**0.5), 2.5 / (1 + 2**0.5)
    assert weights == pytest.approx([a, a, b, b, 2 * a], abs=1e-4)


def test_effective_numbers() -> None:
    assert count_effective([1.0, 1.0, 1.0]) == 3.0
    assert count_effective([2.0, 1.0, 1.0]) == 2.67  # 16 / 6
    margins = {"people": Margin(["ann", "ann", "bob"], 0.0), "topics": Margin(["", "", ""], 0.0)}
    assert measure_effect([1.0, 1.0, 2.0], margins) == {"judgements": 2.67, "people": 2.0, "topics": None}


@pytest.mark.parametrize("dial", [-0.1, 1.1, float("nan")])
def test_a_dial_goes_from_0_to_1(dial: float) -> None:
    with pytest.raises(ConfigError, match=r"^balance of prompts .*: from 0 \(every judgement counts\) to 1"):
        Balance(prompts=dial)


def answer(created_at: str | None) -> Judgement:
    return Judgement("c", "ann", "l", "r", "left", created_at=created_at)


def test_weights_halve_with_age() -> None:
    ages = {"old": 3.0, "new": 1.0}
    fading = Fading(2.0, "rounds", lambda each: ages[each.annotator])
    judgements = [Judgement("c", name, "l", "r", "left") for name in ("old", "new", "new")]
    # raw 3 * 1/2, 1 and 1: mean 7/6
    assert fading.fade([3.0, 1.0, 1.0], judgements) == pytest.approx([9 / 7, 6 / 7, 6 / 7])
    distant = Fading(0.001, "rounds", lambda _: 5000.0)
    assert distant.fade([1.0] * 3, judgements) == [1.0] * 3  # all alike, not 0 / 0


def test_days_are_counted_from_the_latest_answer_whatever_its_zone() -> None:
    times = ("2026-03-01T00:00:00+00:00", "2026-03-03T01:00:00+01:00", "2026-03-04T12:00:00")
    judgements = [answer(time) for time in times]
    fading = fade_by_day(1.0, judgements)
    assert [fading.find_age(each) for each in judgements] == pytest.approx([3.5, 1.5, 0.0])


@pytest.mark.parametrize("days", [0.0, -1.0, float("inf"), float("nan")])
def test_a_half_life_is_above_0(days: float) -> None:
    with pytest.raises(ConfigError, match="--half-life .*a number of days above 0"):
        fade_by_day(days, [])


def test_answers_without_a_time_have_no_age() -> None:
    with pytest.raises(DataError, match="--half-life: 1 of 2 judgements have no time"):
        fade_by_day(1.0, [answer(None), answer("2026-03-01")])
