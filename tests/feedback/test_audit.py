"""Bias estimates, fast answers and ties of simulated annotators; the logistic fit against statsmodels."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.api import Logit

from likelier.feedback.audit import (
    LENGTH,
    SIDE,
    SKILL,
    Answers,
    estimate_biases,
    fit_logistic,
    mean_bias,
    measure_excess_ties,
    measure_fast_answers,
    medians_by_group,
    medians_of_others,
    weighted_median,
)


def make_answers(seed: int, habits: list[str], each: int = 400, truth_follows_length: float = 0.0) -> Answers:
    """Simulate annotators who follow the truth with probability 0.85, or a habit; the consensus is as accurate."""
    generator = np.random.default_rng(seed)
    annotator = np.repeat(np.arange(len(habits)), each)
    longer = generator.choice([-1.0, 1.0], len(annotator))
    truth = np.where(
        generator.random(len(annotator)) < truth_follows_length, longer, generator.choice([-1.0, 1.0], len(annotator))
    )
    right = np.where(generator.random(len(annotator)) < 0.85, truth, -truth)
    others = np.where(generator.random(len(annotator)) < 0.85, truth, -truth)
    habit = np.array(habits)[annotator]
    coin = generator.choice([-1.0, 1.0], len(annotator))
    always = {"left": 1.0, "right": -1.0, "longer": longer, "shorter": -longer, "random": coin, "reversed": -right}
    sign = right
    for name, answer in always.items():
        sign = np.where((habit == name) & (generator.random(len(annotator)) < 0.95), answer, sign)
    return Answers(annotator, sign, 0.7 * others, longer, np.full(len(annotator), np.nan))


HABITS = ["honest"] * 8 + ["left", "right", "longer", "shorter", "random", "reversed"]


@pytest.mark.parametrize("truth_follows_length", [0.0, 0.6, -0.6])
def test_each_habit_shows_in_its_own_coefficient(truth_follows_length: float) -> None:
    answers = make_answers(0, HABITS, truth_follows_length=abs(truth_follows_length))
    if truth_follows_length < 0:  # the shorter response is the better one: read the lengths the other way round
        answers = replace(answers, longer=-answers.longer)
    biases = estimate_biases(answers)
    longer = 10 if truth_follows_length >= 0 else 11
    honest = slice(0, 8)
    assert np.abs(biases.side[honest]).max() < 0.6
    assert np.abs(biases.length[honest]).max() < 0.8
    assert biases.skill[honest].min() > 0.7
    assert biases.side[8] > 2.5
    assert biases.side[9] < -2.5
    assert biases.length[longer] > 2.5
    assert biases.length[21 - longer] < -2.5
    assert abs(biases.skill[12]) < 0.25
    assert biases.skill[13] < -0.6
    assert abs(biases.length[12]) < 0.6
    assert biases.z["left"][8] > 10
    assert biases.z["random"][12] > 6
    assert biases.z["reversed"][13] > 6
    assert max(np.abs(biases.z[name][honest]).max() for name in ("left", "longer")) < 3.3


def test_z_scores_are_standard_normal_for_typical_annotators() -> None:
    z = estimate_biases(make_answers(1, ["honest"] * 150, each=150, truth_follows_length=0.5)).z
    for name in ("left", "longer", "random"):
        assert abs(z[name].mean()) < 0.25
        assert z[name].std() == pytest.approx(1, abs=0.2)


def test_one_annotators_fit_is_a_logistic_regression() -> None:
    generator = np.random.default_rng(0)
    design = np.stack([np.ones(20000), generator.normal(size=20000), generator.normal(size=20000)], axis=1)
    left = generator.random(20000) < 1 / (1 + np.exp(-design @ [0.5, 1.2, -0.4]))
    oracle = Logit(left.astype(float), design).fit(disp=False)
    coefficients, log_posterior = fit_logistic(design, left, np.zeros(20000, dtype=np.intp), 1)
    np.testing.assert_allclose(coefficients[0], oracle.params, atol=2e-4)  # the prior is worth one or two answers
    assert log_posterior[0] == pytest.approx(oracle.llf, abs=0.2)
    constrained, _ = fit_logistic(design, left, np.zeros(20000, dtype=np.intp), 1, {SIDE: 0.0, SKILL: 1.0})
    assert constrained[0, [SIDE, SKILL]].tolist() == [0.0, 1.0]
    assert constrained[0, LENGTH] < -0.2


def test_prior_bounds_the_bias_of_one_sided_annotators() -> None:
    side = estimate_biases(make_answers(2, ["honest", "honest", "left"], each=60)).side
    assert 1.5 < side[2] < 6


def make_tie_answers(*counts: int) -> Answers:
    """Make one annotator per count, who says tie that many times in ten answers."""
    sign = np.concatenate([np.repeat([0.0, 1.0], [count, 10 - count]) for count in counts])
    size = len(sign)
    return Answers(np.repeat(np.arange(len(counts)), 10), sign, np.zeros(size), np.zeros(size), np.full(size, np.nan))


def test_ties_against_one_other() -> None:
    excess, p = measure_excess_ties(make_tie_answers(8, 1))
    # Nine ties among twenty answers: 8 or all 9 of them among the first ten.
    assert p[0] == pytest.approx((45 * 10 + 10) / 167960)
    assert p[1] > 0.9
    low = excess[0] + 0.1  # at this rate, 8 or more of ten happen with probability 0.0228
    assert 45 * low**8 * (1 - low) ** 2 + 10 * low**9 * (1 - low) + low**10 == pytest.approx(0.02275, abs=1e-5)
    assert excess[1] < 0


def test_more_ties_than_more_than_half_of_the_others() -> None:
    """Two of two; three of four, of which the third smallest p-value counts twice."""
    assert measure_excess_ties(make_tie_answers(8, 1, 8))[1][0] > 0.6
    assert measure_excess_ties(make_tie_answers(8, 1, 0))[1][0] == pytest.approx((45 * 10 + 10) / 167960)
    excess, p = measure_excess_ties(make_tie_answers(8, 0, 0, 1, 3))
    assert p[0] == pytest.approx(2 * (45 * 10 + 10) / 167960)
    assert excess[0] == measure_excess_ties(make_tie_answers(8, 1))[0][0]


def test_one_who_never_says_tie_makes_nobody_stand_out() -> None:
    excess, p = measure_excess_ties(make_tie_answers(0, 7, 6))
    assert excess.max() < 0
    assert p.min() > 0.4


def test_haste_against_the_others() -> None:
    seconds = np.array([1.0] * 10 + [12.0] * 10 + [8.0] * 9 + [1.5])
    answers = Answers(np.repeat([0, 1, 2], 10), np.ones(30), np.zeros(30), np.zeros(30), seconds)
    excess, p = measure_fast_answers(answers)
    assert excess[0] == pytest.approx(1 - 1 / 20)  # below a quarter of the others' 10 seconds; 1 of their 20 is as well
    assert p[0] == pytest.approx(20 / 54_627_300)  # of the ways to choose the 11 fast among all 30
    assert excess[1] < 0.1
    assert p[1] > 0.5


def test_without_times_or_company_nobody_is_hasty() -> None:
    alone = Answers(np.zeros(5, dtype=np.intp), np.ones(5), np.zeros(5), np.zeros(5), np.full(5, 0.1))
    assert [value.tolist() for value in measure_fast_answers(alone)] == [[0.0], [1.0]]
    assert [value.tolist() for value in measure_excess_ties(alone)] == [[0.0], [1.0]]
    untimed = replace(alone, annotator=np.array([0, 0, 1, 1, 1]), seconds=np.full(5, np.nan))
    assert measure_fast_answers(untimed)[1].tolist() == [1.0, 1.0]


def test_lean_and_median_by_hand() -> None:
    assert mean_bias(np.array([1.0, 1.0, 1.0, -1.0, 0.0])) == 0.25
    assert mean_bias(np.array([0.0])) is None
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 3.0])) == 2.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([7.0, 1.0, 3.0])) == 3.0


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_the_median_of_the_others(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 5, count).astype(float)
    expected = [float(np.median(np.delete(values, each))) for each in range(count)]
    assert medians_of_others(values).tolist() == expected
    group = np.repeat([0, 2], [1, count])
    found = medians_by_group(group, np.append(9.0, values), np.bincount(group))
    assert found[[0, 2]].tolist() == [9.0, float(np.median(values))]
    assert np.isnan(found[1])
