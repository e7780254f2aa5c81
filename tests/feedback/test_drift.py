"""Change over a person's answers: of skill, of side, of speed."""

from dataclasses import replace

import numpy as np
import pytest

from crowds import change_first, draw_votes, measure
from likelier.feedback.drift import place_in_sequence
from likelier.feedback.flags import flag_annotators


def test_places_in_ones_own_sequence() -> None:
    assert place_in_sequence(np.array([0, 1, 0, 0, 1, 2])).tolist() == [-0.5, -0.5, 0.0, 0.5, 0.5, -0.5]


def test_who_guesses_in_the_second_half_drifts() -> None:
    votes, _ = draw_votes(1, each=400)
    guess = np.random.default_rng(0).choice([-1.0, 1.0], len(votes.sign))
    measures = measure(change_first(votes, guess, after=0.5))[1]
    assert measures.drift.skill.size[0] < -0.8
    assert np.abs(measures.drift.skill.size[1:]).mean() < 0.5
    assert flag_annotators(measures) == [("drifting",), *[()] * 7]


def test_who_turns_to_the_left_drifts() -> None:
    votes, _ = draw_votes(1, each=300)
    measures = measure(change_first(votes, np.ones(len(votes.sign)), 0.8, after=0.7))[1]
    assert measures.drift.side.size[0] > 2
    assert "drifting" in flag_annotators(measures)[0]


def test_seconds_that_halve() -> None:
    votes, _ = draw_votes(2, each=60)
    place = place_in_sequence(votes.annotator)
    seconds = np.where(votes.annotator == 0, votes.seconds * 0.5**place, votes.seconds)
    drift = measure(replace(votes, seconds=seconds))[1].drift
    assert drift.speed[0] == pytest.approx(0.5, abs=0.15)
    low, high = drift.speed_interval[0]
    assert low < 0.5 < high < 0.9
    unknown = measure(replace(votes, seconds=np.full(len(seconds), np.nan)))[1].drift
    assert np.isnan(unknown.speed).all()
    assert np.isnan(unknown.speed_interval).all()
