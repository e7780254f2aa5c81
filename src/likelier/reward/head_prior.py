"""A person's taste from a few answers: a Gaussian prior over the weights of a linear reward, fitted on other people.

Person p prefers the left response with probability sigmoid(x w_p), x its features minus those of the right one, and w_p
is drawn from N(mean, covariance): a logistic regression with random effects. Numpy and scipy only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, log_expit, softmax

from likelier.intervals import Floats

MAX_STEPS, TOLERANCE = 100, 1e-8
"""Newton steps for a person, and the largest gradient at which they end."""
MAX_ROUNDS, SETTLED = 60, 1e-3
"""Rounds of expectation and maximisation, and the relative change of the covariance at which they end."""


class Gaussian(NamedTuple):
    """A distribution of weights: of people in general, or of one person after some answers."""

    mean: Floats
    """[D]"""
    covariance: Floats
    """[D, D]"""

    def predict(self, difference: Floats) -> float:
        """Return the probability that a response whose features differ by `difference` [D] from the other's wins.

        The logistic of a normal variable, by MacKay's approximation sigmoid(m / sqrt(1 + pi v / 8)).
        """
        mean, variance = float(difference @ self.mean), float(difference @ self.covariance @ difference)
        return float(expit(mean / np.sqrt(1 + np.pi * variance / 8)))


def update(prior: Gaussian, wins: Floats) -> Gaussian:
    """Return what is known of a person's weights after some answers: Laplace's approximation.

    `wins` [N, D]: features of the preferred response minus the other's. Without answers the prior.
    """
    if not len(wins):
        return prior
    precision = cho_solve(cho_factor(prior.covariance), np.eye(len(prior.mean)))
    weights = prior.mean

    def objective(w: Floats) -> float:
        away = w - prior.mean
        return float(away @ precision @ away / 2 - log_expit(wins @ w).sum())

    value = objective(weights)
    for _ in range(MAX_STEPS):
        lost = expit(-(wins @ weights))
        gradient = precision @ (weights - prior.mean) - wins.T @ lost
        if np.abs(gradient).max() <= TOLERANCE:
            break
        hessian = precision + (wins.T * (lost * (1 - lost))) @ wins
        step, scale = cho_solve(cho_factor(hessian), gradient), 1.0
        while (lower := objective(weights - scale * step)) > value and scale > 1e-6:
            scale /= 2
        weights, value = weights - scale * step, lower
    lost = expit(-(wins @ weights))
    covariance = cho_solve(cho_factor(precision + (wins.T * (lost * (1 - lost))) @ wins), np.eye(len(weights)))
    return Gaussian(weights, covariance)


class Learner:
    """Posteriors of one person's weights under several priors, each weighed by how well it foretold the answers so far.

    A prior fitted on people with other tastes misleads for dozens of answers; beside one that knows nothing it soon
    has no weight.
    """

    def __init__(self, priors: Sequence[Gaussian]) -> None:
        self.priors, self.known = priors, list(priors)
        self.wins = np.zeros((0, len(priors[0].mean)))
        self.log_evidence = np.zeros(len(priors))

    def add(self, win: Floats) -> None:
        """Add an answer: features of the preferred response minus the other's, [D]."""
        self.log_evidence += np.log([each.predict(win) for each in self.known])
        self.wins = np.vstack([self.wins, win])
        self.known = [update(prior, self.wins) for prior in self.priors]

    def predict(self, difference: Floats) -> float:
        """Return the probability that a response whose features differ by `difference` [D] from the other's wins."""
        share = softmax(self.log_evidence)
        return float(share @ [each.predict(difference) for each in self.known])


def fit_prior(people: Sequence[Floats], spread: float = 1.0, trust: float = 2.0) -> Gaussian:
    """Fit mean and covariance to the answers of several people, `wins` [N, D] of each, by expectation and maximisation.

    As if `trust` more people with a variance of `spread`^2 in every direction had been seen, lest what few people
    happen to share be taken for certain. ValueError: nobody.
    """
    if not people:
        raise ValueError("a prior needs the answers of at least one person")
    size = people[0].shape[1]
    prior = Gaussian(np.zeros(size), spread**2 * np.eye(size))
    for _ in range(MAX_ROUNDS):
        known = [update(prior, wins) for wins in people]
        mean = np.mean([each.mean for each in known], axis=0)
        scatter = sum(each.covariance + np.outer(each.mean - mean, each.mean - mean) for each in known)
        covariance = (scatter + trust * spread**2 * np.eye(size)) / (len(people) + trust)
        change = np.linalg.norm(covariance - prior.covariance) / np.linalg.norm(prior.covariance)
        prior = Gaussian(mean, covariance)
        if change < SETTLED:
            break
    return prior
