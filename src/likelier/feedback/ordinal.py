"""Scores of responses from ratings, thumbs and rankings, in the log-odds of Bradley and Terry.

Ratings: the graded response model (Samejima 1969), P(value >= k) = sigmoid(s - c_ak) with thresholds of each person a,
shrunk towards the common ones. Thumbs are ratings with one threshold. Rankings: Plackett and Luce; a best of n is a
first place alone. Strengths of preference are in `strengths`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SCORE_SD = 2.0
"""Standard deviation of the normal prior of the scores, as in `skilled_bradley_terry`."""
SHIFT_SD, GAP_SD = 1.0, 0.5
"""Standard deviations of the persons' first threshold, and of the logarithms of the gaps between theirs, about the
common ones. Standardising each person's ratings, their limit, erases that somebody rated better responses."""


class Scores(NamedTuple):
    """Scores at the posterior's mode, [responses], and their variances by the curvature."""

    mean: Floats
    variance: Floats


class RatingScores(NamedTuple):
    """Result of `fit_ratings`."""

    scores: Scores
    thresholds: Floats
    """[annotators, categories - 1], ascending."""


class GradedTerms(NamedTuple):
    """Log-probabilities of categories between two thresholds, and their derivatives, [N] each."""

    log_probability: Floats
    by_score: Floats
    by_lower: Floats
    by_upper: Floats
    curvature: Floats
    """Minus the second derivative by the score."""


def grade(score: Floats, lower: Floats, upper: Floats) -> GradedTerms:
    """Log of sigmoid(score - lower) - sigmoid(score - upper); infinite ends for the outermost categories."""
    above, beyond = expit(score - lower), expit(score - upper)
    probability = np.maximum(above - beyond, 1e-300)
    slope_above, slope_beyond = above * (1 - above), beyond * (1 - beyond)
    return GradedTerms(
        np.log(probability),
        1 - above - beyond,
        -slope_above / probability,
        slope_beyond / probability,
        slope_above + slope_beyond,
    )


def fit_ratings(response: Indices, annotator: Indices, category: Indices, categories: int) -> RatingScores:
    """Fit scores and every person's thresholds to ratings [N] of 0 to `categories` - 1, at the posterior's mode."""
    num_responses, num_annotators, steps = int(response.max()) + 1, int(annotator.max()) + 1, categories - 1
    counts = np.bincount(category, minlength=categories) + 0.5
    start = -np.log(counts[::-1].cumsum()[::-1][1:] / counts.cumsum()[:-1])
    common = np.concatenate([start[:1], np.log(np.maximum(np.diff(start), 0.05))])
    scale = np.concatenate([[SHIFT_SD], np.full(steps - 1, GAP_SD)])

    def unpack(vector: Floats) -> tuple[Floats, Floats, Floats]:
        scores, base, own = np.split(vector, [num_responses, num_responses + steps])
        return scores, base, own.reshape(num_annotators, steps)

    def objective(vector: Floats) -> tuple[float, Floats]:
        scores, base, own = unpack(vector)
        thresholds, gaps = make_thresholds(base + own * scale)
        bounded = np.pad(thresholds, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
        terms = grade(scores[response], bounded[annotator, category], bounded[annotator, category + 1])
        slope = np.zeros((num_annotators, categories + 1))
        np.add.at(slope, (annotator, category), terms.by_lower)
        np.add.at(slope, (annotator, category + 1), terms.by_upper)
        # A gap moves all thresholds above it.
        above = slope[:, 1:-1][:, ::-1].cumsum(axis=1)[:, ::-1]
        by_own = np.concatenate([above[:, :1], above[:, 1:] * gaps], axis=1)
        loss = -terms.log_probability.sum() + scores @ scores / (2 * SCORE_SD**2) + (own**2).sum() / 2
        by_score = np.bincount(response, terms.by_score, num_responses)
        parts = (scores / SCORE_SD**2 - by_score, -by_own.sum(axis=0), (own - by_own * scale).ravel())
        return float(loss), np.concatenate(parts)

    vector = np.concatenate([np.zeros(num_responses), common, np.zeros(num_annotators * steps)])
    scores, base, own = unpack(minimize(objective, vector, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x)
    thresholds, _ = make_thresholds(base + own * scale)
    bounded = np.pad(thresholds, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
    terms = grade(scores[response], bounded[annotator, category], bounded[annotator, category + 1])
    curvature = np.bincount(response, terms.curvature, num_responses) + 1 / SCORE_SD**2
    return RatingScores(Scores(scores, 1 / curvature), thresholds)


def make_thresholds(parameters: Floats) -> tuple[Floats, Floats]:
    """Return ascending thresholds [..., K] of a first one and the logarithms of the gaps, and the gaps [..., K - 1]."""
    gaps = np.exp(parameters[..., 1:])
    return parameters[..., :1] + np.concatenate(
        [np.zeros_like(parameters[..., :1]), gaps.cumsum(axis=-1)], axis=-1
    ), gaps


def fit_rankings(rankings: Sequence[Sequence[Sequence[int]]], num_responses: int) -> Scores:
    """Fit scores to rankings, each a list of places, the best first, of numbers of responses.

    Plackett (1975) and Luce (1959): the next place goes to i of those left with probability exp(s_i) / sum exp(s_j).
    Those who share a place are counted one by one against all who were left (Breslow), those in the last place are
    not: so one response in the first place and all others in the second is the best of n, exp(s_i) / sum exp(s_j).
    """
    choices = [
        (np.array(place), np.array([each for later in ranking[number:] for each in later]))
        for ranking in rankings
        for number, place in enumerate(ranking[:-1])
    ]

    def objective(scores: Floats) -> tuple[float, Floats]:
        loss, gradient = float(scores @ scores) / (2 * SCORE_SD**2), scores / SCORE_SD**2
        for place, left in choices:
            total = logsumexp(scores[left])
            loss -= float(scores[place].sum() - len(place) * total)
            gradient[left] += len(place) * np.exp(scores[left] - total)
            gradient[place] -= 1
        return loss, gradient

    scores = minimize(objective, np.zeros(num_responses), jac=True, method="L-BFGS-B").x
    curvature = np.full(num_responses, 1 / SCORE_SD**2)
    for place, left in choices:
        share = np.exp(scores[left] - logsumexp(scores[left]))
        curvature[left] += len(place) * share * (1 - share)
    return Scores(scores, 1 / curvature)


def compare_scores(scores: Scores, first: int, second: int) -> float:
    """Return the probability that the first is preferred: the mean of sigmoid(d) over a normal d (MacKay 1992)."""
    doubt = scores.variance[first] + scores.variance[second]
    return float(expit((scores.mean[first] - scores.mean[second]) / np.sqrt(1 + np.pi * doubt / 8)))
