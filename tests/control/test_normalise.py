"""Moments and scales against hand-worked numbers; images are left as they are."""

import numpy as np
from gymnasium.spaces import Box

from likelier.config import GymConfig
from likelier.control.normalise import RewardScale, RunningMoments, make_observation_moments
from likelier.control.spaces import make_observation_encoder


def test_moments_of_parts_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(50, 2))
    moments = RunningMoments((2,))
    for part in np.split(x, [1, 7, 30]):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.var, x.var(0), rtol=1e-12)


def test_rewards_are_scaled_by_the_deviation_of_the_discounted_return():
    scale = RewardScale(1, gamma=0.5)
    scaled = scale.scale(np.array([[1.0], [1.0], [2.0]]), np.array([[False], [True], [False]]))
    returns = [1.0, 1.5, 2.0]  # the second ends an episode, so the third stands alone
    np.testing.assert_allclose(scaled[:, 0], np.array([1.0, 1.0, 2.0]) / np.std(returns), rtol=1e-6)


def test_what_is_far_out_stays_within_ten_deviations():
    moments = RunningMoments((2,))
    moments.update(np.array([[0.0, 7.0], [2.0, 7.0]]))
    assert moments.normalize(np.array([[2.0, 7.0], [900.0, 8.0], [-900.0, 6.0]])).tolist() == [
        [1, 0],
        [10, 10],
        [-10, -10],
    ]
    scaled = RewardScale(1, gamma=0.0).scale(np.array([[0.0]] * 999 + [[1.0]]), np.zeros((1000, 1), bool))
    assert scaled[-1] == 10  # 1 / 0.0316


def test_rewards_that_hardly_differ_stay_apart():
    scale, ended = RewardScale(2, gamma=0.0), np.ones((2, 2), bool)
    scaled = scale.scale(np.array([[100.0, 101.0], [101.0, 100.0]]), ended)
    np.testing.assert_allclose(scaled, [[100 / 20.1, 101 / 20.1], [101 / 20.1, 100 / 20.1]], rtol=1e-12)
    assert RewardScale(2, gamma=0.0).scale(np.full((3, 2), -5.0), np.zeros((3, 2), bool)).tolist() == [[-5, -5]] * 3
    assert RewardScale(2, gamma=0.0).scale(np.zeros((3, 2)), np.zeros((3, 2), bool)).tolist() == [[0, 0]] * 3


def test_vectors_are_normalised_by_default_and_images_never_are():
    vector = make_observation_encoder(Box(-1, 1, (3,)), 2, "here")
    image = make_observation_encoder(Box(0, 255, (8, 8, 3), np.uint8), 1, "here")
    moments = make_observation_moments(vector, GymConfig())
    assert moments is not None
    assert moments.mean.shape == (6,)
    assert make_observation_moments(vector, GymConfig(normalize_observations=False)) is None
    assert make_observation_moments(image, GymConfig()) is None
