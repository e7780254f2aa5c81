"""Answers to real questions: whom people preferred, and how often a score agrees."""

import numpy as np
import pytest
import question_answers as example
from question_answers import Asked

TWO = [
    Asked("q", "chat", "a gold answer", ["a", "b", "c", "d"], [(0, 1), (3, 2)]),
    Asked("r", "chat", "gold", ["e", "f", "g", "h"], [(2, 0)]),
]


def test_preferences_of_the_real_set(shared):
    asked = example.read_questions(shared / "data")
    assert len(asked) == 363
    assert sum(len(each.wins) for each in asked) == 1894
    record = next(each for each in asked if each.question == "Premier league record for most wins in a row?")
    assert record.wins == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert record.gold.startswith("The English Premier league")
    assert record.answers[1].startswith("The Premier League record for most wins in a row is nine.")


def test_a_score_agrees_where_the_better_answer_has_more():
    rows = np.array([[2.0, 1.0, 5.0, 4.0], [1.0, 0.0, 1.0, 0.0]])
    assert example.count_hits(rows, TWO).tolist() == [1.0, 0.0, 0.5]
    scores = {"token F1": lambda asked, said: rows.ravel(), "reward model": lambda asked, said: -rows.ravel()}
    found = example.compare(scores, TWO)
    assert found["pairs"] == 3
    assert found["token F1"]["agrees"] == 0.5
    assert found["reward model"]["correlation with F1"] == pytest.approx(-1)
    assert found["F1 + reward model"]["agrees"] == 0.5


def test_a_head_learns_what_the_better_answers_have():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 4, 3))
    learn = [Asked("q", "", "", [""] * 4, [(int(r[:, 1].argmax()), int(r[:, 1].argmin()))]) for r in rows]
    weights = example.fit_head(rows, learn)
    assert weights[1] > 5 * max(abs(weights[0]), abs(weights[2]))
