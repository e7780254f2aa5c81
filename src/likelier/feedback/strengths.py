"""Thresholds between strengths of preference ("slightly", "much better") of each person, in log-odds.

The proportional-odds model with thresholds that are symmetric about 0 (Agresti 1992): with d the difference of scores,
P(at least k on the first's side) = sigmoid(d - c_k), of a tie sigmoid(d + c_1) - sigmoid(d - c_1). Without ties c_1 is
0, and the sum over strengths is Bradley and Terry's sigmoid(d). d is integrated out by what the others' sides say
of it: scores that are fitted with the thresholds are too far apart, and the thresholds with them.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from likelier.feedback.careless import ByScores, ByVotes, Careless, arrange_answers
from likelier.feedback.expected import responses_recur
from likelier.feedback.ordinal import grade
from likelier.feedback.votes import Votes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MIN_STRENGTHS, MIN_OF_A_STRENGTH, MIN_TIES = 200, 10, 20
"""Answers with a strength from which thresholds are fitted, if two strengths were given this often; ties from which
they are a category of their own."""
MAX_ANSWERS = 30_000
"""Answers that the thresholds are fitted to, about: of more, those of every second, third and so on comparison."""
GAP_SD = 1.0
"""Standard deviation of the logarithms of people's gaps between thresholds about the common ones."""
AGAINST, PANEL_AGAINST = -2.0, -5.0
"""Nats by which somebody's answers, and all answers, are likelier with strengths that are independent of the pair, from
which they count as such."""
OWN_SHARES = 5.0
"""Answers of the panel's that each person's shares of strengths are shrunk by."""
CHUNK = 20_000
"""Answers whose likelihood is computed at once."""
NUM_NODES = 45
"""Points of the normal of differences by votes: more than for shares, as thresholds may lie close together."""


def fit_thresholds(votes: Votes, careless: Careless, num_annotators: int) -> Floats | None:
    """Return c_1, c_2, c_3 of each annotator, [annotators, 3]; NaN of people whose strengths say nothing.

    People use such scales differently: each has gaps of their own, whose logarithms are normal about the common
    ones with a standard deviation of `GAP_SD`; all of them at the posterior's mode. None: too few strengths, too much
    alike, or such that they do not go with the differences at all.
    """
    graded = grade_votes(votes, careless, num_annotators)
    if graded is None:
        return None
    gain = measure_gain(graded, fit_gaps(graded, num_annotators), num_annotators)
    # One person who gives all the same strength does not speak for the panel.
    if np.maximum(gain, 2 * AGAINST).sum() < PANEL_AGAINST:
        return None
    idle = gain < AGAINST
    kept = graded.select(np.flatnonzero(~idle[graded.annotator]))
    thresholds = fit_gaps(kept, num_annotators).thresholds
    thresholds[idle] = np.nan
    return thresholds


class Graded(NamedTuple):
    """Answers with a strength, and ties, [N]."""

    difference: Floats
    """Score of the chosen response minus the other's, as it may be, [N, nodes]."""
    weight: Floats
    """Probability of each, [N, nodes]."""
    annotator: Indices
    strength: Indices
    """0: a tie."""
    careless: Floats
    """Share of the annotator's answers that ignore the pair."""
    chance: Floats
    """Probability that such an answer is this one."""

    def select(self, rows: Indices | slice) -> "Graded":
        """Return some of the answers."""
        return Graded(**{name: column[rows] for name, column in self._asdict().items()})


def grade_votes(votes: Votes, careless: Careless, num_annotators: int) -> Graded | None:
    """Return the answers with a strength, and ties of people who give strengths if there are enough of these."""
    if votes.strength is None:
        return None
    recurring = responses_recur(votes.select(votes.sign != 0))
    step = max(1, -(-int((votes.strength > 0).sum()) // MAX_ANSWERS))
    # Scores need all votes on a response, votes on a pair none of another pair.
    votes = replace(votes, comparison=np.unique(votes.comparison, return_inverse=True)[1].astype(np.int64))
    votes = votes.select((votes.annotator >= 0) & (recurring | (votes.comparison % step == 0)))
    strength = votes.strength
    assert strength is not None
    counts = np.bincount(strength, minlength=4)[1:]
    if counts.sum() < MIN_STRENGTHS or (counts >= MIN_OF_A_STRENGTH).sum() < 2:
        return None
    gives = np.bincount(votes.annotator, strength > 0, num_annotators) > 0
    is_tie = (votes.sign == 0) & gives[votes.annotator]
    counted = (strength > 0) | (is_tie & (is_tie.sum() >= MIN_TIES))
    differences, weights = predict_differences(votes, careless, num_annotators, recurring)
    toward = np.where(votes.labels < 0, -1.0, 1.0)[:, None] * differences
    shares, chances = careless.shares[votes.annotator], measure_chances(votes, careless, counted)
    rows = np.flatnonzero(counted & (votes.comparison % step == 0))
    return Graded(toward, weights, votes.annotator, strength, shares, chances).select(rows)


def predict_differences(
    votes: Votes, careless: Careless, num_annotators: int, recurring: bool
) -> tuple[Floats, Floats]:
    """Return what the others' sides say of each vote: differences of first and second, and their weights, [N, nodes].

    Ties say nothing: they stand as answers that are certain to ignore the pair, of somebody else.
    """
    is_tie = votes.sign == 0
    answers = arrange_answers(replace(votes, annotator=votes.annotator + num_annotators * is_tie))
    share = np.where(is_tie, 1.0, careless.shares[votes.annotator])
    to_left = careless.guess_left[votes.annotator]
    guess = np.where(is_tie, 1.0, np.where(answers.left, to_left, 1 - to_left))
    model = ByScores(answers) if recurring else ByVotes(answers, NUM_NODES)
    differences, weights = np.broadcast_arrays(*model.predict_differences(share, guess))
    return differences, weights / weights.sum(axis=1, keepdims=True)


def measure_chances(votes: Votes, careless: Careless, counted: NDArray[np.bool_]) -> Floats:
    """Return the probability of each answer, were it careless: the side it leans to, the panel's own strengths."""
    assert votes.strength is not None
    shares = np.bincount(votes.strength[counted], minlength=4) / counted.sum()
    to_left = careless.guess_left[votes.annotator]
    side = np.where(votes.sign == 0, 1.0, np.where(votes.sign > 0, to_left, 1 - to_left))
    chances: Floats = side * shares[votes.strength]
    return chances


class Fit(NamedTuple):
    """Result of `fit_gaps`."""

    thresholds: Floats
    """[annotators, 3]"""
    factor: float
    """Makes the differences as large as the answers say; those of scores are too small."""


def fit_gaps(graded: Graded, num_annotators: int) -> Fit:
    """Fit each annotator's thresholds, at the posterior's mode; c_1 is 0 without ties."""
    size = 3 if (graded.strength == 0).any() else 2
    start = np.zeros(1 + size + num_annotators * size)
    start[1] = -1.0 * (size == 3)
    # A strength that nobody gave has a gap of 0, or the last one of infinity, whose logarithms have no bounds.
    bounds = [(-2.0, 2.0)] + [(-6.0, 4.0)] * size + [(-6.0, 6.0)] * (num_annotators * size)

    def make_thresholds(vector: Floats) -> tuple[Floats, Floats, Floats]:
        own = vector[1 + size :].reshape(num_annotators, size)
        gaps = np.exp(vector[1 : 1 + size] + GAP_SD * own)
        return np.pad(gaps.cumsum(axis=1), ((0, 0), (3 - size, 0))), gaps, own

    def objective(vector: Floats) -> tuple[float, Floats]:
        thresholds, gaps, own = make_thresholds(vector)
        loss, by_factor, by_threshold = measure_fit(graded, Fit(thresholds, float(np.exp(vector[0]))))
        # A gap moves all thresholds above it.
        by_gap = by_threshold[:, ::-1].cumsum(axis=1)[:, ::-1][:, 3 - size :] * gaps
        gradient = np.concatenate([[by_factor], by_gap.sum(axis=0), (own + GAP_SD * by_gap).ravel()])
        return float(loss.sum() + (own**2).sum() / 2), gradient

    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    return Fit(make_thresholds(best)[0], float(np.exp(best[0])))


def measure_gain(graded: Graded, fit: Fit, num_annotators: int) -> Floats:
    """Return by how many nats each annotator's answers are likelier by the thresholds, [annotators].

    Than by their sides and, apart from these, how often the person gives each strength, shrunk to the panel.
    """
    given = np.zeros((num_annotators, 4))
    np.add.at(given, (graded.annotator, graded.strength), 1)
    is_tie, number = graded.strength == 0, graded.strength
    panel = given.sum(axis=0) / given.sum()
    prior = np.concatenate([[0.0], OWN_SHARES * panel[1:] / panel[1:].sum()])
    own = (given + prior)[graded.annotator, number] / (given[:, 1:].sum(axis=1) + OWN_SHARES)[graded.annotator]
    chance = np.where(is_tie, graded.chance, graded.chance / np.maximum(panel[number], 1e-12) * (1 - panel[0]))
    sides = graded._replace(strength=np.minimum(number, 1), chance=chance)
    by_sides = np.log(np.where(is_tie, 1.0, own)) - measure_fit(sides, fit_gaps(sides, num_annotators))[0]
    gain = -measure_fit(graded, fit)[0] - by_sides
    return np.bincount(graded.annotator, gain, num_annotators).astype(float)


def measure_fit(graded: Graded, fit: Fit) -> tuple[Floats, float, Floats]:
    """Return minus the log-likelihood of each answer, [N], and the gradient of the sum by the logarithm of the factor
    and by the thresholds, [annotators, 3]."""
    thresholds, factor = fit
    losses, by_factor, slope = np.zeros(len(graded.annotator)), 0.0, np.zeros((len(thresholds), 5))
    # Ends of the categories: minus c_1, c_1, c_2, c_3, infinity; a tie is from the first to the second.
    ends = np.concatenate([-thresholds[:, :1], thresholds, np.full((len(thresholds), 1), np.inf)], axis=1)
    for start in range(0, len(losses), CHUNK):
        rows = slice(start, start + CHUNK)
        part = graded.select(rows)
        lower, upper = ends[part.annotator, part.strength], ends[part.annotator, part.strength + 1]
        terms = grade(factor * part.difference, lower[:, None], upper[:, None])
        each = part.weight * np.exp(terms.log_probability) * (1 - part.careless)[:, None]
        likelihood = each.sum(axis=1) + part.careless * part.chance + 1e-300
        each /= likelihood[:, None]
        losses[rows] = -np.log(likelihood)
        by_factor -= factor * float((each * terms.by_score * part.difference).sum())
        np.add.at(slope, (part.annotator, part.strength), -(each * terms.by_lower).sum(axis=1))
        np.add.at(slope, (part.annotator, part.strength + 1), -(each * terms.by_upper).sum(axis=1))
    slope[:, 1] -= slope[:, 0]
    return losses, by_factor, slope[:, 1:4]
