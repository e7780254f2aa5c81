"""Guesses: made before the answer, scored after it, turned round with the sides, ties not counted."""

import pytest

from likelier.records import Judgement
from likelier.web.guesses import LAST, Guess, Guesses


def answered(choice, left="a", right="b", key="k"):
    return Judgement("c", "ann", left=left, right=right, choice=choice, key=key)


@pytest.mark.parametrize(
    ("probability", "answer", "expected"),
    [
        (0.8, answered("left"), Guess("left", 0.8, True)),
        (0.8, answered("right"), Guess("left", 0.8, False)),
        (0.3, answered("right"), Guess("right", 0.7, True)),
        (0.8, answered("tie"), Guess("left", 0.8, None)),
        (0.8, answered("left", left="b", right="a"), Guess("right", 0.8, False)),
        (0.5, answered("left"), None),
    ],
)
def test_a_guess_is_scored(probability, answer, expected):
    guesses = Guesses()
    guesses.add("c", "a", probability)
    assert guesses.score(answer) == expected
    assert list(guesses.hits) == ([expected.hit] if expected and expected.hit is not None else [])


def test_a_repeated_request_is_told_the_same_and_counts_once():
    guesses = Guesses()
    guesses.add("c", "a", 0.9)
    assert guesses.score(answered("left")) == guesses.score(answered("left")) == Guess("left", 0.9, True)
    assert list(guesses.hits) == [True]
    assert guesses.score(answered("left", key="other")) is None  # nothing was guessed of this one


def test_the_summary_of_the_last_twenty():
    guesses = Guesses()
    assert guesses.summary() == ""
    for number in range(5 + LAST):
        guesses.add("c", "a", 0.9)
        guesses.score(answered("left" if number < 20 else "right", key=str(number)))
    assert guesses.summary() == "guessed 15 of your last 20 (51–91 %)"
