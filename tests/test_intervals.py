"""Intervals against closed forms: Wilson's by hand, the bootstrap's width, and that clusters count, not rows."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from likelier.intervals import bootstrap_means, mean_interval, rate_interval, wilson


def test_wilson_by_hand_and_by_statsmodels():
    assert wilson(0.5, 10) == pytest.approx([0.236593, 0.763407], abs=1e-6)
    assert wilson(1.0, 4)[0] == pytest.approx(1 / (1 + 1.959963984540054**2 / 4), abs=1e-12)  # n / (n + z^2)
    assert wilson(37 / 41, 41) == pytest.approx(proportion_confint(37, 41, method="wilson"), abs=1e-12)


def test_bootstrap_of_independent_rows_has_the_standard_error_of_the_mean():
    values = np.repeat([0.0, 1.0], 200)
    means = bootstrap_means(values, [str(cluster) for cluster in range(400)])
    assert means.mean() == pytest.approx(0.5, abs=0.003)
    assert means.std() == pytest.approx(0.025, rel=0.07)  # sqrt(0.25 / 400)


def test_rows_of_one_cluster_count_as_one():
    once = mean_interval([0.0, 1.0, 1.0, 0.0, 1.0], list("abcde"))
    copied = mean_interval(np.repeat([0.0, 1.0, 1.0, 0.0, 1.0], 10), [name for name in "abcde" for _ in range(10)])
    assert copied == once


def test_clusters_are_weighed_by_their_size():
    means = bootstrap_means([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], draws=500)
    assert set(np.round(means, 6)) == {0.0, 0.75, 1.0}


def test_same_seed_same_interval():
    values, clusters = np.random.default_rng(1).random(50), [str(at) for at in range(50)]
    assert mean_interval(values, clusters, seed=3) == mean_interval(values, clusters, seed=3)
    assert mean_interval(values, clusters, seed=3) != mean_interval(values, clusters, seed=4)


def test_unanimous_clusters_still_have_an_interval():
    assert rate_interval(np.ones(8), list("aabbccdd")) == wilson(1.0, 4)
    assert rate_interval([0.0, 1.0], ["a", "b"]) == mean_interval([0.0, 1.0], ["a", "b"])


def test_interval_covers_the_truth_about_95_times_in_100():
    generator, covered = np.random.default_rng(0), 0
    for _ in range(100):
        rates = generator.beta(6, 4, size=60)  # each prompt has its own rate around 0.6
        values = generator.binomial(1, np.repeat(rates, 5)).astype(float)
        low, high = mean_interval(
            values, [str(cluster) for cluster in np.repeat(range(60), 5)], seed=int(generator.integers(99))
        )
        covered += low <= 0.6 <= high
    assert 88 <= covered <= 100


def test_one_cluster_has_no_interval_of_a_mean_and_a_wide_one_of_a_rate():
    """Every resample was that cluster: an evaluation on one prompt claimed certainty."""
    assert mean_interval([1.0, 2.0, 4.0], ["the only prompt"] * 3) is None
    assert rate_interval([1.0, 0.0], ["the only prompt"] * 2) == wilson(0.5, 1)
