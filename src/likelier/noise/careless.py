"""Careless shares: how many of a person's answers ignore the pair, integrated over a prior that most panels have none.

An answer is P(chosen) = (1 - share) sigmoid(d) + share * guess. Honest mistakes on close pairs are in sigmoid(d)
already, so an error rate is no careless share. A share that is fitted is never below 0 and so too large on average,
and the scale of the scores with it; hence the prior: in most panels nobody is careless, and in the others the part of
careless people is unknown. That one person of a panel agrees little with the others is then mostly chance, and that
several do is not. Prior weights of the shares, learned from the people, looked for somebody in every panel.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, softmax

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SHARES = np.linspace(0, 1, 11)
"""Shares that a person may have."""
HONEST_PANELS = 0.6
"""Prior probability that nobody is careless. With 0.5 more honest panels of two votes a comparison hold somebody
with a share of 0.3 or more, with 0.7 fewer coin-flippers are found: `python bench/careless.py pairs`."""
CARELESS_PART = (1.0, 2.0)
"""Parameters of the beta prior of the part of careless people in the other panels."""
SHAPES, SHAPE_WEIGHTS = np.array([4.0, 1.0, -1.0]), np.array([0.7, 0.2, 0.1])
"""The share of a careless person has a prior in proportion to a power of it: rather often than now and then (of
coin-flippers), or the reverse; the people of the panel tell which."""
PARTS = betaincinv(*CARELESS_PART, (np.arange(40) + 0.5) / 40)
"""Quantiles of this prior."""


class Posterior(NamedTuple):
    """Posterior of the careless share of each annotator, [num_annotators]; without answers that of the panel."""

    mean: Floats
    low: Floats
    """Ends of the 95% interval, at a multiple of 0.1 each."""
    high: Floats


def estimate_shares(
    annotator: Indices, by_reading: Floats, by_guessing: Floats, num_annotators: int, worth: Floats | None = None
) -> Posterior:
    """Return the posterior of the careless share of each annotator.

    `by_reading` [N] is the probability of each answer of somebody who read both responses, by what is known without
    this annotator's answers; `by_guessing` that of somebody who did not. With L0 and L1 the likelihoods of a person who
    reads and who is careless, a part q of careless people has the likelihood prod((1 - q) L0 + q L1), and somebody is
    careless with the probability E[q L1 / ((1 - q) L0 + q L1)], over q and the shape of the prior of the shares.
    `worth` [N]: of how many independent answers each is; None: of one.
    """
    worth = np.ones(len(annotator)) if worth is None else worth
    likelihoods = [
        np.bincount(annotator, worth * np.log((1 - share) * by_reading + share * by_guessing + 1e-300), num_annotators)
        for share in SHARES
    ]
    log_likelihood = np.stack(likelihoods, axis=1)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    priors = SHARES[1:] ** SHAPES[:, None]
    priors /= priors.sum(axis=1, keepdims=True)
    reads, careless = likelihood[:, 0], likelihood[:, 1:] @ priors.T
    panels = [(shape, part) for shape in range(len(SHAPES)) for part in PARTS]
    mixed = [(1 - part) * reads + part * careless[:, shape] + 1e-300 for shape, part in panels]
    evidence = [np.log(HONEST_PANELS) + np.log(reads + 1e-300).sum()]
    evidence += [
        np.log((1 - HONEST_PANELS) * SHAPE_WEIGHTS[shape] / len(PARTS)) + np.log(each).sum()
        for (shape, _), each in zip(panels, mixed, strict=True)
    ]
    posterior = np.zeros_like(likelihood)
    for (shape, part), each, weight in zip(panels, mixed, softmax(evidence)[1:], strict=True):
        if weight > 1e-6:
            posterior[:, 1:] += (weight * part / each)[:, None] * likelihood[:, 1:] * priors[shape]
    posterior[:, 0] = np.maximum(1 - posterior.sum(axis=1), 0)
    return describe_posterior(posterior)


def describe_posterior(posterior: Floats) -> Posterior:
    """Return mean and interval of probabilities of `SHARES`, [people, SHARES]."""
    below = np.cumsum(posterior, axis=1)
    low, high = (SHARES[(below < end).sum(axis=1).clip(max=len(SHARES) - 1)] for end in (0.025, 0.975))
    return Posterior(posterior @ SHARES, low, high)
