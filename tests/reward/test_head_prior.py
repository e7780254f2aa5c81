"""A prior over reward heads: Laplace by hand, what it learns of people, and how one learns from answers."""

import numpy as np
import pytest
from scipy.special import expit

from likelier.reward.head_prior import Gaussian, Learner, fit_prior, update

PLAIN = Gaussian(np.zeros(1), np.eye(1))


def test_an_answer_by_hand():
    # one win with a difference of 1 under N(0, 1): 1 - sigmoid(w) = w, so w = 0.4011; variance 1 / (1 + s (1 - s))
    known = update(PLAIN, np.ones((1, 1)))
    assert known.mean[0] == pytest.approx(0.40106, abs=1e-5)
    s = 1 / (1 + np.exp(-0.40106))
    assert known.covariance[0, 0] == pytest.approx(1 / (1 + s * (1 - s)), abs=1e-5)


def test_no_answers_leave_the_prior():
    assert update(PLAIN, np.zeros((0, 1))) is PLAIN


def test_a_forecast_by_hand():
    # mean 2, variance 8 / pi: sigmoid(2 / sqrt(2))
    assert Gaussian(np.array([2.0]), np.array([[8 / np.pi]])).predict(np.ones(1)) == pytest.approx(expit(np.sqrt(2)))


def test_the_prior_finds_mean_and_spread_of_people():
    generator = np.random.default_rng(0)
    true = np.array([2.0, 0.0, 0.0]) + generator.normal(size=(60, 3)) * [0.2, 1.5, 0.2]
    people = []
    for weights in true:
        rows = generator.normal(size=(50, 3))
        people.append(rows * np.where(generator.random(50) < expit(rows @ weights), 1, -1)[:, None])
    prior = fit_prior(people)
    assert prior.mean == pytest.approx([2, 0, 0], abs=0.3)
    # Laplace's approximation makes differences a tenth too small; what 50 answers do not show is the prior's own
    assert np.sqrt(np.diag(prior.covariance)) == pytest.approx(true.std(axis=0), abs=0.25)


def test_nobody():
    with pytest.raises(ValueError, match="at least one person"):
        fit_prior([])


def test_the_prior_that_foretells_wins():
    """Somebody unlike the others: what the prior says is soon outweighed."""
    believed = Gaussian(np.array([4.0, 0.0]), np.eye(2) * 0.1)
    learner = Learner([believed, Gaussian(np.zeros(2), np.eye(2))])
    difference = np.array([1.0, 0.0])
    assert learner.predict(difference) > 0.7
    # by hand: an answer against both weighs the two 1 - 0.98 = 0.02 to 0.5
    learner.add(-difference)
    wrong = 1 - believed.predict(difference)
    assert np.exp(learner.log_evidence) == pytest.approx([wrong, 0.5])
    learner.add(-difference)
    assert learner.predict(difference) < 0.5
