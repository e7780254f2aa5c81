"""Intervals against closed forms worked out by hand, and against the truth in simulation; clusters count, not rows."""

import math

import numpy as np
import pytest
from bench.feedback import cover_mean, draw_beta, draw_copies, draw_normal
from scipy.stats import binomtest, t

from likelier.intervals import (
    clopper_pearson,
    confidence_sequence,
    count_values,
    log_capital,
    mean_interval,
    rate_interval,
    t_interval,
)


def test_clopper_pearson_like_scipy_and_by_hand():
    exact = binomtest(37, 41).proportion_ci(method="exact")
    assert clopper_pearson(37 / 41, 41) == pytest.approx([exact.low, exact.high], abs=1e-9)
    assert clopper_pearson(1.0, 4) == [pytest.approx(0.025 ** (1 / 4)), 1.0]
    assert clopper_pearson(0.0, 4) == [0.0, pytest.approx(1 - 0.025 ** (1 / 4))]


def test_a_share_of_unanimous_clusters_has_as_many_trials_as_clusters():
    assert rate_interval(np.ones(8), list("aabbccdd")) == [pytest.approx(0.025**0.25), 1.0]
    assert rate_interval([1.0, 0.0] * 4, list("aabbccdd")) == clopper_pearson(0.5, 4)  # of mean 0.5 each


def test_korn_and_graubard_by_hand():
    """Ten clusters of two: five of 1, 1 and five of 0, 0: v = 10/9 * 10 / 20^2, and all ten carry it."""
    low, high = rate_interval(np.repeat([1.0, 0.0], 10), [str(row // 2) for row in range(20)])
    trials = 0.25 / (10 / 9 * 10 / 400) * (t.ppf(0.975, 19) / t.ppf(0.975, 9)) ** 2
    assert trials == pytest.approx(7.704, abs=1e-3)
    assert [low, high] == pytest.approx(clopper_pearson(0.5, trials))


def test_few_clusters_that_carry_the_variance_widen_a_share():
    """Of 30 clusters of four one is 0: v = 29/30 ((4 rate)^2 + 29 (4 / 30)^2) / 116^2 = 1 / 900, three halves of
    whose squares are of that cluster. Korn and Graubard's n* would be 28.1; 1 degree of freedom leaves Kish's 30."""
    interval = rate_interval(np.repeat([0.0] + [1.0] * 29, 4), [str(row // 4) for row in range(120)])
    plain = (29 / 900) / (1 / 900) * (t.ppf(0.975, 119) / t.ppf(0.975, 29)) ** 2
    assert interval == pytest.approx(clopper_pearson(29 / 30, min(plain, 30)))


def test_rows_with_ties_are_worth_more_than_zeros_and_ones():
    """Four rows, each a cluster: v = 3/16 / 4 of n - 1 = 3; of zeros and ones it were 1/4 / 3."""
    halves = rate_interval([1.0, 0.5, 0.5, 0.0] * 25, [str(row) for row in range(100)])
    whole = rate_interval([1.0, 1.0, 0.0, 0.0] * 25, [str(row) for row in range(100)])
    assert np.ptp(halves) == pytest.approx(np.ptp(whole) / np.sqrt(2), rel=0.02)


def test_the_mean_of_equal_clusters_is_students():
    """Means 1, 2, 3 of two rows each: 2 ± 4.302653 / sqrt(3)."""
    interval = mean_interval([0.0, 2.0, 1.0, 3.0, 2.0, 4.0], list("aabbcc"))
    assert interval == pytest.approx([2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], abs=1e-5)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx(interval)


def test_the_mean_of_unequal_clusters_is_the_jackknifes():
    """0 and 0, 3 and 3, 3: mean 9/5; without each cluster 3, 1, 3/2: v = 2/3 (1.2^2 + 0.8^2 + 0.3^2).

    Satterthwaite: w S = [6/5, -4/5, -2/5] / 9 in the first two rows, [-2/5, -2/5, 4/5] / 16 in the third.
    """
    low, high = mean_interval([0.0, 0.0, 3.0, 3.0, 3.0], list("aabbc"))
    product = np.array([[6 / 45, -4 / 45, -2 / 45], [-4 / 45, 6 / 45, -2 / 45], [-2 / 80, -2 / 80, 4 / 80]])
    freedom = np.trace(product) ** 2 / np.trace(product @ product)
    assert (low + high) / 2 == pytest.approx(1.8)
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, freedom) * (2 / 3 * (1.44 + 0.64 + 0.09)) ** 0.5)


def test_rows_of_one_cluster_count_as_one():
    once = mean_interval([0.0, 1.0, 1.0, 0.0, 1.0], list("abcde"))
    copied = mean_interval(np.repeat([0.0, 1.0, 1.0, 0.0, 1.0], 10), [name for name in "abcde" for _ in range(10)])
    assert copied == pytest.approx(once)


def test_one_cluster_has_no_interval_and_none_has_no_width():
    """An evaluation on one prompt claimed certainty."""
    assert mean_interval([1.0, 2.0, 4.0], ["the only prompt"] * 3) is None
    assert rate_interval([1.0, 0.0], ["the only prompt"] * 2) is None
    assert mean_interval([0.1, 0.2, 0.3] * 2, list("aaabbb")) is None  # both clusters have the same mean
    assert t_interval([3.0]) is t_interval([3.0, 3.0]) is None


@pytest.mark.parametrize(
    ("draw", "cell"),
    [
        (draw_beta, ("1", 20, 0.0, 0.95)),  # 0.87 with resamples of clusters
        (draw_copies, ("5", 50, 0.5, 0.95)),  # 0.92 with C - 1 degrees of freedom
        (draw_copies, ("lognormal", 20, 0.5, 0.8)),  # 0.90
        (draw_normal, ("lognormal", 5, 0.5, 0.5)),  # 0.91 with C - 1 degrees of freedom
    ],
)
def test_intervals_hold_the_truth(draw, cell):
    assert cover_mean(draw, cell, draws=250, seed=1)[0] >= 0.93


def test_a_confidence_sequence_by_hand():
    """After t ones a part with the bet f / m has grown by (1 + f (1 - m) / m)^t, one with -f / (1 - m) by (1 - f)^t."""
    ones = confidence_sequence([1.0] * 5)
    shares = [0.9 / math.sqrt(2) ** place for place in range(17)]
    for count, (low, _) in enumerate(ones, 1):
        for mean, is_out in ((low, True), (low + 0.002, False)):
            if mean > 0:
                grown = sum((1 + f * (1 - mean) / mean) ** count + (1 - f) ** count for f in shares)
                assert (grown / 34 >= 20) == is_out, (count, mean)
    assert ones[:, 0].tolist() == sorted(ones[:, 0])
    assert ones[-1, 0] > 0.2
    assert (ones[:, 1] == 1).all()
    assert confidence_sequence([0.0] * 5)[-1].tolist() == pytest.approx([0, 1 - ones[-1, 0]])
    assert confidence_sequence([]).shape == (0, 2)


def test_a_confidence_sequence_narrows_and_holds_the_mean_at_all_looks_together():
    """Of 400 sequences of 500 the mean may leave at most 5% at any time: the limit is two standard errors above."""
    draw, missed, looks = np.random.default_rng(0), 0, np.arange(1, 501)
    for _ in range(400):
        values = draw.choice([0.0, 0.5, 1.0], 500, p=[0.2, 0.2, 0.6])
        missed += log_capital(*count_values(values, looks), 0.7).max() >= math.log(20)
    assert 0 < missed <= 400 * 0.05 + 2 * math.sqrt(400 * 0.05 * 0.95)
    bounds = confidence_sequence(values, [100, 300, 500])
    assert (np.diff(bounds[:, 0]) >= 0).all()
    assert (np.diff(bounds[:, 1]) <= 0).all()
    low, high = bounds[-1]
    assert low < 0.7 < high
    assert 0.08 < high - low < 0.16  # of a number fixed beforehand it is 0.07
    assert confidence_sequence(values[:300], [100, 300]) == pytest.approx(bounds[:2])


def test_weighted_rates_are_hajeks_and_equal_weights_change_nothing_much():
    values, clusters = [1, 0, 1, 1, 0, 1, 1, 0], list("abcdefgh")
    weights = [2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    low, high = rate_interval(values, clusters, weights)
    # Kish: 10^2 / 14 = 7.14 rows; the rate is (2 + 4) / 10.
    assert low < 0.6 < high
    exact_low, exact_high = clopper_pearson(0.6, 100 / 14)
    assert low <= exact_low + 1e-12
    assert high >= exact_high - 1e-12
    assert rate_interval(values, clusters, np.ones(8)) == pytest.approx(rate_interval(values, clusters))
    assert rate_interval([1], ["a"], [2.0]) is None


def test_intervals_of_answers_to_what_a_strategy_chose_cover_the_rate_of_all():
    """Hard comparisons are sought, two tenths are drawn at random: 93% of 300 at least, with the error of 300 runs."""
    generator, held, plain_held = np.random.default_rng(0), 0, 0
    for _ in range(300):
        agreement = generator.beta(4, 2, 400)
        hard = np.argsort(agreement)[:40]
        probability = np.full(400, 0.2 / 400)
        probability[hard] += 0.8 / 40
        drawn = generator.choice(400, 150, p=probability)  # with replacement, so that 1 / (n q) is the whole weight
        values = (generator.random(150) < agreement[drawn]).astype(float)
        weights, clusters = 1 / (400 * probability[drawn]), drawn.astype(str).tolist()
        low, high = rate_interval(values, clusters, weights)
        plain_low, plain_high = rate_interval(values, clusters)
        held += low <= agreement.mean() <= high
        plain_held += plain_low <= agreement.mean() <= plain_high
    assert held >= 300 * 0.93 - 2 * math.sqrt(300 * 0.05 * 0.95)
    assert plain_held < 30
