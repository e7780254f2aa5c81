"""What an answer would tell: formulas against numbers worked out by hand."""

import numpy as np
import pytest
from scipy.special import expit, logit

from likelier.asking.gains import choose_by_determinant, choose_by_entropy, measure_disagreement, measure_gain


def test_models_that_are_sure_of_opposite_sides_disagree_most():
    nine = float(logit(0.9))
    # H(0.5) - H(0.9) = 0.693147 - 0.325083; both sure of the same, or both undecided: nothing to learn.
    gains = measure_disagreement(np.array([[nine, nine, 0.0], [-nine, nine, 0.0]]))
    np.testing.assert_allclose(gains, [0.368064, 0.0, 0.0], atol=1e-6)


def test_the_gain_of_a_difference_is_what_an_integral_over_it_says():
    grid = np.linspace(-12, 12, 20_001)
    for mean, variance in ((0.0, 0.5), (1.0, 2.0), (-2.0, 8.0)):
        weight = np.exp(-((grid - mean) ** 2) / (2 * variance))
        p, weight = expit(grid), weight / weight.sum()
        entropy = -p * np.log(p) - (1 - p) * np.log1p(-p)
        middle = float(weight @ p)
        expected = -middle * np.log(middle) - (1 - middle) * np.log(1 - middle) - float(weight @ entropy)
        assert measure_gain(mean, variance) == pytest.approx(expected, abs=2e-3)
    assert measure_gain(0.3, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_a_batch_does_not_take_the_same_direction_twice():
    candidates = np.array([[1.9, 0.0], [2.0, 0.0], [0.0, 1.0]])
    ones, nothing = np.ones(3), np.zeros((0, 2))
    # Gains 3.61, 4 and 1; after the second one 3.61 / (1 + 4) = 0.72 of the first is left.
    assert choose_by_determinant(candidates, ones, nothing, np.zeros(0), 3, 1.0) == [1, 2, 0]
    assert choose_by_determinant(candidates, ones, candidates[1:2], np.ones(1), 1, 1.0) == [2]
    # An answer that is nearly certain tells little.
    assert choose_by_determinant(candidates, [1.0, 0.01, 1.0], nothing, np.zeros(0), 1, 1.0) == [0]


def test_of_three_responses_the_third_comparison_follows_from_the_first_two():
    place = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]])
    left, right = np.array([0, 0, 1, 3]), np.array([1, 2, 2, 4])
    covariance = [4.0 * np.eye(3), 4.0 * np.eye(2)]
    chosen = choose_by_entropy(np.zeros(5), covariance, place, left, right, 4)
    assert chosen == [0, 3, 1, 2]
    # A difference that is known well, or far from even, is asked last.
    assert choose_by_entropy(np.array([9.0, 0, 0, 0, 0]), covariance, place, left, right, 2) == [2, 3]
