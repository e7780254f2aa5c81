"""Win rates corrected by people, worked by hand; their coverage is in docs/results.md (`bench/corrected.py`)."""

import numpy as np
import pytest

from likelier.evaluation.corrected import correct_win_rate, estimate_rate, measure_agreement

NAMES = [str(number) for number in range(40)]
JUDGED = np.array([1.0, 0.0] * 10 + [np.nan] * 20)
"""People prefer b in 10 of 20 pairs; 20 others have nobody's judgement."""
VERDICTS = np.array([1.0, 0.0] * 10 + [1.0] * 15 + [0.0] * 5)
"""A judge who is always right, and prefers b in 15 of the others."""


def test_a_judge_who_is_right_counts_as_far_as_the_others_vary():
    """Variance of people's mean 20 x 1/4 / 20^2 = 0.0125, of the others' 20 x 3/16 / 20^2 = 0.009375: power 4/7."""
    rate, power, deviations = estimate_rate(JUDGED, VERDICTS, NAMES)
    assert power == pytest.approx(4 / 7)
    assert rate == pytest.approx(0.5 + 4 / 7 * 0.25)
    # (1 - 4/7)^2 0.0125 + (4/7)^2 0.009375, and 20 / 18 for what was fitted
    assert (deviations**2).sum() == pytest.approx((0.0125 * 9 + 0.009375 * 16) / 49 * 20 / 18)


def test_pairs_of_a_prompt_are_one_cluster():
    """Two equal rows of each prompt tell as much as one."""
    single = estimate_rate(JUDGED, VERDICTS, NAMES)
    double = estimate_rate(np.repeat(JUDGED, 2), np.repeat(VERDICTS, 2), np.repeat(NAMES, 2).tolist())
    assert double[:2] == pytest.approx(single[:2])
    assert (double[2] ** 2).sum() == pytest.approx((single[2] ** 2).sum())


def test_a_judge_who_knows_nothing_or_is_wrong_changes_nothing():
    wrong = correct_win_rate(JUDGED, 1 - VERDICTS, NAMES, np.zeros(40))
    assert (wrong.win_rate, wrong.power, wrong.agreement.rate) == (0.5, 0.0, 0.0)
    constant = correct_win_rate(JUDGED, np.ones(40), NAMES, np.zeros(40))
    assert (constant.win_rate, constant.power, constant.agreement.rate) == (0.5, 0.0, 0.5)


def test_the_record_says_how_it_came_about():
    longer = np.array([1.0] * 5 + [-1.0] * 5 + [0.0] * 30)
    found = correct_win_rate(JUDGED, VERDICTS, NAMES, longer)
    assert (found.judged, found.others, found.people_alone) == (20, 20, 0.5)
    assert (found.agreement.n, found.agreement_longer.n, found.agreement_shorter.n) == (20, 5, 5)
    width, alone = (each[1] - each[0] for each in (found.interval, found.people_alone_interval))
    assert found.to_json()["gain"] == pytest.approx(1 - width / alone)
    assert found.gain > 0.2


def test_few_or_no_others_are_not_corrected():
    shares = JUDGED.copy()
    shares[0] = np.nan
    assert correct_win_rate(shares, VERDICTS, NAMES, np.zeros(40)) is None
    assert correct_win_rate(np.ones(40), VERDICTS, NAMES, np.zeros(40)) is None


def test_agreement_is_of_pairs_on_which_both_take_a_side():
    shares, wins = np.array([1.0, 0.75, 0.5, 0.0, 0.25]), np.array([1.0, 0.0, 1.0, 0.5, 0.0])
    found = measure_agreement(shares, wins, list("abcde"))
    assert (found.rate, found.n) == (pytest.approx(2 / 3), 3)
    assert measure_agreement(np.array([0.5]), np.array([1.0]), ["a"]) is None
