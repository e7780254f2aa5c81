"""Figures of the owner's page, by hand."""

import pytest

from likelier.feedback.store import Store
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response
from likelier.web.figures import Figures, compare_models, count_by_day
from likelier.web.room import Room
from page_visitors import add_pair


def judged(number, models, choice, day="2026-11-01"):
    prompt = Prompt(f"Story {number}")
    left, right = (Response(prompt.id, f"text {model}", model) for model in models)
    comparison = Comparison(prompt.id, left.id, right.id)
    answer = Judgement(comparison.id, "ann", left.id, right.id, choice, created_at=f"{day}T10:00:00+00:00")
    return JudgedComparison(answer, prompt, left, right)


def test_the_win_rate_is_of_the_later_model():
    votes = [judged(0, ("old", "new"), "right"), judged(1, ("new", "old"), "tie"), judged(2, ("new", "old"), "left")]
    votes += [judged(3, ("new", "new"), "left"), judged(4, ("new", "older"), "left")]
    rates = compare_models([judged(9, ("old", "old"), "left"), *votes])
    assert (rates["model"], rates["other"]) == ("new", "old")
    assert [(each["judgements"], each["rate"]) for each in rates["points"]] == [(1, 1.0), (2, 0.75), (3, 2.5 / 3)]
    assert rates["points"][0]["low"] == pytest.approx(0.2065, abs=1e-4)  # Wilson, one trial


def test_one_model_has_no_win_rate():
    assert compare_models([judged(0, ("new", "new"), "left")]) is None


def test_judgements_are_counted_by_day():
    votes = [judged(0, ("a", "b"), "left", day) for day in ("2026-11-02", "2026-11-01", "2026-11-02")]
    assert count_by_day(votes) == [
        {"day": "2026-11-01", "judgements": 1},
        {"day": "2026-11-02", "judgements": 2},
    ]


def test_they_are_computed_apart_and_again_when_much_is_new(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        (pair,) = store.comparisons()
        room = Room(store, None, None, None)
        figures = Figures(room)
        assert figures.read() == {}
        for number in range(22):
            store.add_judgement(Judgement(pair.id, f"p{number}", pair.response_a, pair.response_b, "left"))
            if number in (0, 5):
                assert figures.read(60)["as_of"] == 1
        assert figures.read(60)["as_of"] == 22
