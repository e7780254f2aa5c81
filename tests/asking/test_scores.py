"""The posterior of scores."""

import numpy as np
import pytest

from likelier.asking.scores import estimate_scores, invert_precision
from likelier.feedback.reliability import Choices, fit_posterior_mode, negative_log_posterior


def make_choices(left, right, sign, num_responses):
    annotator = np.arange(len(left)) % 3
    return Choices(
        np.array(left), np.array(right), annotator, np.array(sign, float), num_responses, 3, np.zeros(3), -50.0
    )


def test_nothing_judged_leaves_the_prior_and_a_component_for_each_prompt():
    scores = estimate_scores(None, np.array([0, 2, 2]), np.array([1, 3, 4]), 5)
    assert [matrix.tolist() for matrix in scores.covariance] == [(4 * np.eye(2)).tolist(), (4 * np.eye(3)).tolist()]
    assert scores.place.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]]
    assert scores.mean.tolist() == [0.0] * 5


def test_two_responses_have_the_inverse_of_their_precision():
    # [[2 + 1, -2], [-2, 2 + 1]] has the inverse [[3, 2], [2, 3]] / 5.
    inverse = invert_precision(np.array([[0, 0], [1, 1]]), np.array([0.5, 1.5]), 2, 1.0)
    np.testing.assert_allclose(inverse, np.array([[3, 2], [2, 3]]) / 5)


def test_the_precision_is_the_curvature_of_the_posterior_as_a_function_of_the_scores():
    generator = np.random.default_rng(0)
    left = generator.integers(0, 4, 60)
    right = (left + generator.integers(1, 4, 60)) % 4
    data = make_choices(left, right, np.where(generator.random(60) < 0.65, 1.0, -1.0) * np.sign(right - left), 4)
    scores = estimate_scores(data, left, right, 4)
    mode, step = fit_posterior_mode(data), 1e-4
    hessian = np.zeros((4, 4))
    for column in range(4):
        ends = []
        for sign in (1, -1):
            moved = mode.score.copy()
            moved[column] += sign * step
            ends.append(negative_log_posterior(mode.__class__(**vars(mode) | {"score": moved}), data, np.ones(60))[1])
        hessian[:, column] = (ends[0].score - ends[1].score) / (2 * step)
    # But for guesses, whose likelihood is not concave: within a tenth.
    assert np.linalg.inv(scores.covariance[0]) == pytest.approx(hessian, rel=0.1, abs=0.15)
