"""Careless shares: how many of a person's answers ignore the pair, integrated over a prior that most people have none.

An answer is P(chosen) = (1 - share) sigmoid(d) + share * guess. Honest mistakes on close pairs are in sigmoid(d)
already, so an error rate is no careless share. A share that is fitted is never below 0 and so too large on average,
and the scale of the scores with it; hence the prior, with a mass at 0 and weights that are learned from the people.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SHARES = np.linspace(0, 1, 11)
"""Shares that a person may have."""
PSEUDO_PEOPLE = np.concatenate([[5.0], SHARES[1:] / SHARES[1:].sum() / 2])
"""Prior of the weights of `SHARES`, as people seen before: five who read, and half a one who does not, rather often
than now and then. `bench/careless.py` shows why so many: with fewer, honest panels that agree little look careless."""
MAX_EM_STEPS = 100


def estimate_shares(annotator: Indices, by_reading: Floats, by_guessing: Floats, num_annotators: int) -> Floats:
    """Return the expected careless share of each annotator, [num_annotators]; without answers that of the panel.

    `by_reading` [N] is the probability of each answer of somebody who read both responses, by what is known without
    this annotator's answers; `by_guessing` that of somebody who did not. Weights of the shares by EM (`PSEUDO_PEOPLE`).
    """
    likelihoods = [
        np.bincount(annotator, np.log((1 - share) * by_reading + share * by_guessing + 1e-300), num_annotators)
        for share in SHARES
    ]
    log_likelihood, weights = np.stack(likelihoods, axis=1), PSEUDO_PEOPLE / PSEUDO_PEOPLE.sum()
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    for _ in range(MAX_EM_STEPS):  # the posterior of a share is weights * likelihood / (likelihood @ weights)
        before, weights = weights, weights * (likelihood.T @ (1 / (likelihood @ weights))) + PSEUDO_PEOPLE
        weights = weights / weights.sum()
        if np.abs(weights - before).max() < 1e-6:
            break
    posterior = weights * likelihood / (likelihood @ weights)[:, None]
    shares: Floats = posterior @ SHARES
    return shares
