"""Reliability, its error with an interval, and the temperature: by hand, and on probabilities whose truth is known."""

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve

from likelier.records import Preference
from likelier.reward.calibration import (
    assign_bins,
    calibration,
    calibration_error,
    calibration_interval,
    check_by_chance,
    check_temperature,
    fit_temperature,
)


def make_pairs(count: int, per_cluster: int = 1) -> list[Preference]:
    return [Preference("p", "a", "b", conversation=str(at // per_cluster)) for at in range(count)]


def draw_differences(count: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Score differences, chosen minus rejected, `scale` times as large as the log-odds that people follow."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size=count)
    return scale * np.where(random.random(count) < expit(logits), logits, -logits)


def test_bins_have_equal_mass_and_keep_equal_probabilities_together():
    assert np.bincount(assign_bins(np.random.default_rng(0).random(150))).tolist() == [10] * 15
    assert assign_bins(np.array([0.9, 0.6, 0.7])).tolist() == [2, 0, 1]  # no more bins than pairs
    assert assign_bins(np.full(40, 0.8)).tolist() == [7] * 40
    # weights 3, 1: middles of mass at 3/8 and 7/8 of two bins
    assert assign_bins(np.array([0.5, 0.9]), np.array([3.0, 1.0])).tolist() == [0, 1]
    assert assign_bins(np.array([0.5, 0.9]), np.array([1.0, 3.0])).tolist() == [0, 1]
    assert assign_bins(np.array([0.5, 0.6, 0.9]), np.array([8.0, 0.0, 1.0])).tolist() == [1, 2, 2]


def test_calibration_by_hand():
    # sigmoid(log 3) = 0.75, and 3 of those 4 won; sigmoid(log 9) = 0.9, and 1 of those 2 did
    difference = np.array([math.log(3), math.log(3), math.log(3), -math.log(3), math.log(9.0001), -math.log(9.0001)])
    bins = calibration(difference, np.ones(6))
    assert [each["pairs"] for each in bins] == [4, 2]
    assert [each["expected"] for each in bins] == pytest.approx([0.75, 0.9], abs=1e-5)
    assert [each["observed"] for each in bins] == [0.75, 0.5]
    assert calibration_error(difference, np.ones(6)) == pytest.approx(2 / 6 * 0.4, abs=1e-5)


def test_calibration_counts_ties_half():
    # equal scores promise 1/2 and get 1/2; a tie that was scored 3 : 1 promises 0.75 and gets 1/2, from either side
    assert calibration_error(np.zeros(3), np.array([1.0, 1.0, 0.5])) == 0.0
    assert calibration_error(np.array([math.log(3), -math.log(3)]), np.full(2, 0.5)) == pytest.approx(0.25, abs=1e-9)


def test_scores_that_tell_the_truth_are_calibrated():
    random = np.random.default_rng(0)
    logits = random.normal(size=20_000)
    wins = random.random(20_000) < 1 / (1 + np.exp(-logits))
    difference = np.where(wins, logits, -logits)  # chosen minus rejected
    assert calibration_error(difference, np.ones(20_000)) < 0.015
    assert calibration_error(3 * difference, np.ones(20_000)) > 0.1


def test_bins_are_those_of_scikit_learn():
    difference = draw_differences(600, seed=2)
    observed, expected = calibration_curve(
        (difference > 0).astype(int), expit(np.abs(difference)), n_bins=15, strategy="quantile"
    )
    bins = calibration(difference, np.ones(600))
    assert [each["expected"] for each in bins] == pytest.approx(expected.tolist())
    assert [each["observed"] for each in bins] == pytest.approx(observed.tolist())


def test_the_interval_holds_the_truth_and_zero_where_nothing_is_wrong():
    """With scores twice the log-odds the true error is the mean of |sigmoid(|l|) - sigmoid(|2 l|)|, 0.093."""
    large = np.abs(np.random.default_rng(9).normal(0, 2, size=400_000))
    truth = float(np.mean(expit(2 * large) - expit(large)))
    assert truth == pytest.approx(0.0932, abs=0.0005)
    held = [
        interval[0] <= truth <= interval[1]
        for seed in range(20)
        if (interval := calibration_interval(draw_differences(300, seed, 2.0), make_pairs(300)))
    ]
    assert sum(held) >= 17
    zero = [calibration_interval(draw_differences(300, seed), make_pairs(300)) for seed in range(20)]
    assert sum(each is not None and each[0] == 0.0 for each in zero) >= 18
    assert calibration_interval(draw_differences(30, 0), make_pairs(30, per_cluster=30)) is None


def test_chance_alone_makes_an_error():
    # one pair of probability 0.75: |1 - 0.75| in three of four draws, |0 - 0.75| in the others
    assert check_by_chance(np.array([math.log(3)])).mean() == pytest.approx(0.75 * 0.25 + 0.25 * 0.75, abs=0.04)
    difference = draw_differences(300, seed=4)
    assert calibration_error(difference, np.ones(300)) == pytest.approx(check_by_chance(difference).mean(), abs=0.02)


def test_the_temperature_by_hand():
    # three of four times right at a difference of 2: sigmoid(2 / T) = 3 / 4
    pairs = make_pairs(4)
    assert fit_temperature(np.array([2.0, 2.0, 2.0, -2.0]), pairs) == pytest.approx(2 / math.log(3), rel=1e-3)


def test_a_temperature_is_measured_on_other_pairs_than_it_was_fitted_on():
    test, valid = draw_differences(600, 0, 3.0), draw_differences(300, 1, 3.0)
    apart = check_temperature(test, make_pairs(600), valid, make_pairs(300))
    assert apart["temperature"] == fit_temperature(valid, make_pairs(300)) == pytest.approx(3, abs=0.7)
    assert apart["calibration_error_at_temperature"] < 0.06 < calibration_error(test, np.ones(600))
    assert apart["log_loss_at_temperature"] == pytest.approx(
        float(np.logaddexp(0, -test / apart["temperature"]).mean())
    )
    crossed = check_temperature(test, make_pairs(600), np.zeros(0), [])
    assert crossed["temperature"] == fit_temperature(test, make_pairs(600))
    assert crossed["log_loss_at_temperature"] > float(np.logaddexp(0, -test / crossed["temperature"]).mean())
    assert check_temperature(test[:3], make_pairs(3, per_cluster=3), np.zeros(0), [])["temperature"] is None
