"""Scores of responses from ratings and thumbs, in the log-odds of Bradley and Terry.

Ratings: the graded response model (Samejima 1969), P(value >= k) = sigmoid(s - c_ak) with thresholds of each person a,
shrunk towards the common ones. Thumbs are ratings with one threshold. Rankings are comparisons (`derived`), strengths
of preference are in `strengths`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

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
    pull: Floats
    """Slope of each rating's log-probability by the score, [N]."""
    curvature: Floats
    """What each rating adds to the precision of the score, [N]."""


class Guessing(NamedTuple):
    """Ratings that ignore the response: by each annotator a share, with a habit of which category is given."""

    share: Floats
    """[annotators], below 1."""
    habit: Floats
    """Probability of each category, [annotators, categories]."""


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


def fit_ratings(
    response: Indices,
    annotator: Indices,
    category: Indices,
    categories: int,
    guessing: Guessing | None = None,
    score_sd: float = SCORE_SD,
) -> RatingScores:
    """Fit scores and every person's thresholds to ratings [N] of 0 to `categories` - 1, at the posterior's mode.

    With `guessing` the probability of a rating is (1 - share) P(category) + share * habit. `score_sd`: of the prior.
    """
    num_responses, num_annotators, steps = int(response.max()) + 1, int(annotator.max()) + 1, categories - 1
    counts = np.bincount(category, minlength=categories) + 0.5
    start = -np.log(counts[::-1].cumsum()[::-1][1:] / counts.cumsum()[:-1])
    common = np.concatenate([start[:1], np.log(np.maximum(np.diff(start), 0.05))])
    scale = np.concatenate([[SHIFT_SD], np.full(steps - 1, GAP_SD)])

    def unpack(vector: Floats) -> tuple[Floats, Floats, Floats]:
        scores, base, own = np.split(vector, [num_responses, num_responses + steps])
        return scores, base, own.reshape(num_annotators, steps)

    def grade_all(scores: Floats, thresholds: Floats) -> GradedTerms:
        bounded = np.pad(thresholds, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
        terms = grade(scores[response], bounded[annotator, category], bounded[annotator, category + 1])
        return terms if guessing is None else mix(terms, guessing.share[annotator], guessing.habit[annotator, category])

    def objective(vector: Floats) -> tuple[float, Floats]:
        scores, base, own = unpack(vector)
        thresholds, gaps = make_thresholds(base + own * scale)
        terms = grade_all(scores, thresholds)
        slope = np.zeros((num_annotators, categories + 1))
        np.add.at(slope, (annotator, category), terms.by_lower)
        np.add.at(slope, (annotator, category + 1), terms.by_upper)
        # A gap moves all thresholds above it.
        above = slope[:, 1:-1][:, ::-1].cumsum(axis=1)[:, ::-1]
        by_own = np.concatenate([above[:, :1], above[:, 1:] * gaps], axis=1)
        loss = -terms.log_probability.sum() + scores @ scores / (2 * score_sd**2) + (own**2).sum() / 2
        by_score = np.bincount(response, terms.by_score, num_responses)
        parts = (scores / score_sd**2 - by_score, -by_own.sum(axis=0), (own - by_own * scale).ravel())
        return float(loss), np.concatenate(parts)

    vector = np.concatenate([np.zeros(num_responses), common, np.zeros(num_annotators * steps)])
    scores, base, own = unpack(minimize(objective, vector, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x)
    thresholds, _ = make_thresholds(base + own * scale)
    terms = grade_all(scores, thresholds)
    curvature = np.bincount(response, terms.curvature, num_responses) + 1 / score_sd**2
    return RatingScores(Scores(scores, 1 / curvature), thresholds, terms.by_score, terms.curvature)


def mix(terms: GradedTerms, share: Floats, habit: Floats) -> GradedTerms:
    """Return the terms of ratings that ignore the response with the probability `share`, [N], and are then as likely
    as `habit`; the curvature is that of EM, never below 0."""
    read = (1 - share) * np.exp(terms.log_probability)
    probability = read + share * habit
    attention = read / probability
    return GradedTerms(np.log(probability), *(attention * slope for slope in terms[1:]))


def make_thresholds(parameters: Floats) -> tuple[Floats, Floats]:
    """Return ascending thresholds [..., K] of a first one and the logarithms of the gaps, and the gaps [..., K - 1]."""
    gaps = np.exp(parameters[..., 1:])
    return parameters[..., :1] + np.concatenate(
        [np.zeros_like(parameters[..., :1]), gaps.cumsum(axis=-1)], axis=-1
    ), gaps


def compare_scores(scores: Scores, first: int, second: int) -> float:
    """Return the probability that the first is preferred: the mean of sigmoid(d) over a normal d (MacKay 1992)."""
    doubt = scores.variance[first] + scores.variance[second]
    return float(expit((scores.mean[first] - scores.mean[second]) / np.sqrt(1 + np.pi * doubt / 8)))
