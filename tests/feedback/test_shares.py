"""Shares of few answers: exact intervals, and the test against the others by hand."""

import numpy as np
import pytest
from scipy.stats import beta, betabinom

from likelier.feedback.shares import Share, compare_shares


def make_share(*counts: tuple[int, int]) -> Share:
    events, trials = np.array(counts).T
    return Share(events, trials, trials)


def test_intervals_are_clopper_and_pearsons_over_comparisons() -> None:
    share = Share(np.array([3, 0, 1, 0]), np.array([10, 8, 1, 0]), np.array([10, 4, 1, 0]))
    low, high = share.intervals()[0]
    assert (low, high) == (pytest.approx(beta.ppf(0.025, 3, 8)), pytest.approx(beta.ppf(0.975, 4, 7)))
    assert share.intervals()[1].tolist() == [0, pytest.approx(1 - 0.025 ** (1 / 4))]  # of 4 comparisons, not 8 answers
    assert np.isnan(share.intervals()[2:]).all()  # one comparison, none
    assert share.complement().intervals()[0].tolist() == pytest.approx([1 - high, 1 - low])
    assert share.rates()[:3].tolist() == [0.3, 0, 1]
    assert np.isnan(share.rates()[3])


def test_the_panel_has_an_interval_over_people() -> None:
    assert make_share((3, 10)).panel_interval() is None
    low, high = make_share((3, 10), (2, 10), (0, 0)).panel_interval() or (0, 0)
    assert 0 < low < 0.25 < high < 1


def test_one_is_compared_with_the_mean_of_the_others() -> None:
    excess, p_values = compare_shares(make_share((15, 30), (6, 30), (6, 30), (0, 0)))
    mean = 12.5 / 61
    assert excess[0] == pytest.approx(0.5 - mean)
    strength = mean * (1 - mean) / 0.05**2 - 1  # the others are alike: the least spread
    assert p_values[0] == pytest.approx(betabinom.sf(14, 30, mean * strength, (1 - mean) * strength))
    assert p_values[0] < 0.01 < p_values[1]
    assert (excess[3], p_values[3]) == (0, 1)
    assert [each.tolist() for each in compare_shares(make_share((3, 4)))] == [[0], [1]]


def test_others_who_differ_make_one_less_surprising() -> None:
    alike = compare_shares(make_share((20, 40), *[(10, 40)] * 6))[1][0]
    unlike = compare_shares(make_share((20, 40), *[(4, 40)] * 3, *[(16, 40)] * 3))[1][0]
    assert alike < unlike / 3
