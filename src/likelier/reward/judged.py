"""Judged pairs as arrays: targets, weights, carelessness, clusters, and the log-odds and losses of a score."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from likelier.files import stable_id
from likelier.intervals import Floats
from likelier.records import Preference


def targets(pairs: Sequence[Preference]) -> Floats:
    """`target` of each pair, [N]."""
    return np.array([pair.target for pair in pairs])


def flips(pairs: Sequence[Preference]) -> Floats:
    """`flip` of each pair, [N]."""
    return np.array([pair.flip for pair in pairs])


def judgement_logits(difference: Floats, pairs: Sequence[Preference]) -> Floats:
    """Log-odds that the annotator prefers `chosen`, with probability q as in `preference_loss`."""
    flip, right, wrong = flips(pairs), expit(difference), expit(-difference)
    guess = np.array([pair.guess for pair in pairs])
    careless = np.minimum(2 * flip, 1.0)
    leaning = ((1 - careless) * side + careless * by_guess for side, by_guess in ((right, guess), (wrong, 1 - guess)))
    alike = ((1 - flip) * right + flip * wrong, (1 - flip) * wrong + flip * right)
    with np.errstate(divide="ignore"):  # only where flip is 0, and there the log-odds are d itself
        chosen, rejected = (np.log(np.where(guess == 0.5, *both)) for both in zip(alike, leaning, strict=True))
        odds = chosen - rejected
    return np.where(flip == 0, difference, odds)


def clusters(pairs: Sequence[Preference]) -> list[str]:
    """Cluster of each pair: its conversation, else its prompt."""
    return [pair.conversation or stable_id(pair.prompt) for pair in pairs]


def log_losses(difference: Floats, target: Floats) -> Floats:
    """-(target log sigmoid(d) + (1 - target) log sigmoid(-d)) of each pair, in nats."""
    losses: Floats = target * np.logaddexp(0, -difference) + (1 - target) * np.logaddexp(0, difference)
    return losses


def weights(pairs: Sequence[Preference]) -> Floats:
    """`weight` of each pair, [N]."""
    return np.array([pair.weight for pair in pairs])


def asked_weights(pairs: Sequence[Preference]) -> Floats:
    """`asked_weight` of each pair, [N]: what makes up for a strategy that chose what was asked."""
    return np.array([pair.asked_weight for pair in pairs])
