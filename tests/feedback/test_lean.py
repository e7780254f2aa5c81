"""A lean to a style beyond the consensus, beside one of the whole panel, which is no finding."""

from dataclasses import replace

import numpy as np

from crowds import change_first, draw_votes, measure
from likelier.feedback.flags import flag_annotators


def test_who_follows_lists_is_told_from_the_others() -> None:
    votes, _ = draw_votes(0)
    assert votes.style is not None
    follower = change_first(votes, votes.style[:, 0].astype(float), 0.9)
    style = measure(follower)[1].style
    assert style.feature[0] == 0
    assert style.effect.size[0] > 2
    assert style.p_values[0] < 1e-8 < style.p_values[1:].min()
    flags = flag_annotators(measure(follower)[1])
    assert flags[0] == ("style",)
    assert not any(flags[1:])
    away = measure(change_first(votes, -votes.style[:, 0].astype(float), 0.9))[1].style
    assert away.effect.size[0] < -2


def test_a_style_that_all_prefer_is_no_lean_of_anybody() -> None:
    votes, _ = draw_votes(1)
    assert votes.style is not None
    takes = np.random.default_rng(1).random(len(votes.sign)) < 0.4
    everybody = replace(votes, sign=np.where(takes, votes.style[:, 0], votes.sign))
    style = measure(everybody)[1].style
    assert np.abs(style.effect.size).max() < 1.5
    assert not any(flag_annotators(measure(everybody)[1]))


def test_without_style_nothing_is_tested() -> None:
    votes, _ = draw_votes(2, each=40)
    style = measure(replace(votes, style=None))[1].style
    assert style.p_values.tolist() == [1.0] * 8
    assert not np.isfinite(style.effect.error).any()
