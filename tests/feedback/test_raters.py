"""Ratings beside the others': a panel whose scores are known, and each step by hand."""

import numpy as np
import pytest

from likelier.feedback.raters import Prediction, categorise, check_raters, flag_raters, measure_skills, standardise
from likelier.records import Prompt, RatedResponse, Rating, Response
from rater_panel import rate_all

PROMPT = Prompt("p")


def test_who_does_not_look_is_found_and_nobody_else() -> None:
    found = check_raters(rate_all(8, 2))
    assert {name: person.flags for name, person in found.items() if person.flags} == {
        "p0": ("random",),
        "p1": ("random",),
    }
    careless = {name: person.careless or 0.0 for name, person in found.items()}
    assert min(careless["p0"], careless["p1"]) > 0.7
    assert max(careless[f"p{number}"] for number in range(2, 8)) < 0.05
    assert [person.ratings for person in found.values()] == [60] * 8
    assert np.median([person.skill for person in found.values() if not person.flags]) == pytest.approx(1.0, abs=0.2)


def test_who_turns_the_scale_round_is_reversed() -> None:
    rated = [
        RatedResponse(Rating(entry.response.id, "p0", 8 - entry.rating.value), PROMPT, entry.response)
        if entry.rating.annotator == "p0"
        else entry
        for entry in rate_all(6, 0)
    ]
    found = check_raters(rated)
    assert found["p0"].flags == ("reversed",)
    assert found["p0"].skill is not None
    assert found["p0"].skill < -0.4
    assert not any(person.flags for name, person in found.items() if name != "p0")


def test_where_nobody_rates_the_same_nothing_is_said() -> None:
    responses = [Response(PROMPT.id, str(number)) for number in range(40)]
    alone = [
        RatedResponse(Rating(each.id, f"p{number % 2}", float(number % 3)), PROMPT, each)
        for number, each in enumerate(responses)
    ]
    assert {(person.skill, person.careless, person.flags) for person in check_raters(alone).values()} == {
        (None, None, ())
    }
    assert check_raters([]) == {}
    same = [RatedResponse(Rating(responses[0].id, name, 5.0), PROMPT, responses[0]) for name in "ab"]
    assert check_raters(same)["a"] == (1, None, None, None, ())


def test_two_scales_add_up() -> None:
    """A rater without a name is compared with, and belongs to nobody."""
    one, two = rate_all(5, 1), rate_all(5, 1, seed=1, scale=[1, 7])
    nameless = RatedResponse(Rating(one[0].response.id, "", 4.0), PROMPT, one[0].response)
    found = check_raters([*one, *two, nameless])
    assert {person.ratings for person in found.values()} == {120}
    assert found["p0"].flags == ("random",)


def test_skills_by_hand() -> None:
    """Slopes 2, 1 and 0 on scores -1 and 1: the median is 1, and the error 1 / sqrt(2)."""
    person, score = np.repeat([0, 1, 2], 2), np.tile([-1.0, 1.0], 3)
    predicted = Prediction(person, score, np.array([-2.0, 2, -1, 1, 0, 0]), score, score)
    skill, error, shared = measure_skills(predicted, 3)
    assert skill.tolist() == [2.0, 1.0, 0.0]
    assert error == pytest.approx(np.sqrt(0.5))
    assert shared.tolist() == [2, 2, 2]
    assert standardise(np.array([1.0, 3, 5, 5]), np.array([0, 0, 1, 1]), 2).tolist() == [-1, 1, 0, 0]


def test_flags_need_size_and_significance() -> None:
    skill, error = np.array([1.0, 0.0, 0.0, -1.0, 0.0]), np.array([0.1, 0.1, 0.5, 0.1, 0.1])
    flags = flag_raters(skill, error, np.array([50, 50, 50, 50, 19]))
    assert flags == [(), ("random",), (), ("reversed",), ()]


def test_fine_scales_are_cut() -> None:
    assert categorise(np.array([3.0, 1.0, 3.0]))[0].tolist() == [1, 0, 1]
    category, count = categorise(np.arange(100.0))
    assert count == 11
    assert np.bincount(category).tolist() == pytest.approx([100 / 11] * 11, abs=1.1)
