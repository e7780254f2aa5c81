"""Each person's careless share by the others' answers: by scores of responses that recur, else by votes on a pair."""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from likelier.feedback.expected import responses_recur
from likelier.feedback.votes import Votes
from likelier.noise.careless import estimate_shares

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ROUNDS, TOLERANCE = 8, 0.005
"""Times that differences of scores and careless shares are estimated in turn, at most, and by how much less than which
a share then changes."""
NODES, _weights = hermegauss(15)
LOG_NODE_WEIGHTS = np.log(_weights / _weights.sum())
SPREADS = np.geomspace(0.2, 8, 16)
"""Standard deviations of the difference of two responses that are tried."""
PAIRS_FOR_SPREAD = 5000
LEAN_Z = 3.0
"""Standard errors off one half from which a share of left is a lean to a side."""


class Careless(NamedTuple):
    """Estimates of each annotator, [annotators]."""

    shares: Floats
    """Share of answers that ignore the responses: the mean of the posterior."""
    guess_left: Floats
    """Probability of left among these: one half, but for people who lean to a side."""
    low: Floats
    """Ends of the 95% interval of the share, at a multiple of 0.1 each."""
    high: Floats


class Answers(NamedTuple):
    """Answers that are no tie, [N] each."""

    annotator: Indices
    first: Indices
    second: Indices
    """Numbers of both responses, sorted."""
    comparison: Indices
    sign: Floats
    """1: the first is preferred, -1: the second."""
    left: NDArray[np.bool_]
    """True for an answer that is the left side."""
    evidence: Floats
    """Of how many independent answers each is worth."""


def estimate_careless(votes: Votes, num_annotators: int) -> Careless | None:
    """Estimate the careless share of each annotator; None where nobody's answers can be compared with others'.

    Responses have scores where they recur in several comparisons. Where not, the others' votes on a comparison speak
    of it. Where comparisons are judged once, without features, a careless person and a person who sees small
    differences give the same answers, and nothing is estimated.
    """
    decided = votes.select((votes.sign != 0) & (votes.annotator >= 0))
    if not len(decided.sign):
        return None
    answers = arrange_answers(decided)
    recurring = responses_recur(decided)
    if not recurring and np.bincount(answers.comparison).max() < 2:
        return None
    leans = measure_leans(decided, num_annotators)
    shares, guess_left = np.zeros(num_annotators), np.full(num_annotators, 0.5)
    predict = (ByScores if recurring else ByVotes)(answers).predict
    for _ in range(ROUNDS):
        guess_left = spread_lean(leans, shares)
        to_left = guess_left[answers.annotator]
        guess = np.where(answers.left, to_left, 1 - to_left)
        by_reading = predict(shares[answers.annotator], guess)
        before = shares
        posterior = estimate_shares(answers.annotator, by_reading, guess, num_annotators, answers.evidence)
        shares = posterior.mean
        if np.abs(shares - before).max() < TOLERANCE:
            break
    return Careless(shares, spread_lean(leans, shares), posterior.low, posterior.high)


def arrange_answers(votes: Votes) -> Answers:
    """Return votes as answers with the numbers of their responses sorted; of a tie the sign is -1."""
    return Answers(
        annotator=votes.annotator,
        first=np.minimum(votes.left, votes.right),
        second=np.maximum(votes.left, votes.right),
        comparison=np.unique(votes.comparison, return_inverse=True)[1].astype(np.int64),
        sign=np.where(votes.labels > 0, 1.0, -1.0),
        left=votes.sign > 0,
        evidence=np.ones(len(votes.sign)) if votes.evidence is None else votes.evidence,
    )


def measure_leans(decided: Votes, num_annotators: int) -> Floats:
    """Return by how much each annotator's share of left is off one half; 0 where that may be chance."""
    sided = decided.annotator[decided.has_sides]
    count = np.bincount(sided, minlength=num_annotators)
    left = np.bincount(sided, decided.sign[decided.has_sides] > 0, num_annotators)
    lean = (left + 0.5) / (count + 1) - 0.5
    leans: Floats = np.where(np.abs(lean) * 2 * np.sqrt(count) > LEAN_Z, lean, 0.0)
    return leans


def spread_lean(leans: Floats, shares: Floats) -> Floats:
    """Return P(left) of answers that ignore the pair: sides are random, so these alone lean, each by lean / share."""
    # A person who leans has a careless share; before it is estimated, the smallest that can hold the lean.
    share = np.maximum(shares, 2 * np.abs(leans))
    off = np.divide(leans, share, out=np.zeros_like(leans), where=share > 0)
    guess_left: Floats = np.clip(0.5 + off, 0.02, 0.98)
    return guess_left


class ByVotes:
    """Differences by the votes on a comparison: d is normal with mean 0, its standard deviation the likeliest."""

    def __init__(self, answers: Answers, num_nodes: int = len(NODES)) -> None:
        """Take the answers; the normal is integrated by `num_nodes` points (Gauss and Hermite)."""
        self.nodes, weights = hermegauss(num_nodes)
        self.log_node_weights = np.log(weights / weights.sum())
        self.answers, self.num_comparisons = answers, int(answers.comparison.max()) + 1
        # The spread is one number: of a large panel a sample of the comparisons gives it.
        sampled = answers.comparison % -(-self.num_comparisons // PAIRS_FOR_SPREAD) == 0
        self.sample, self.everyone = np.flatnonzero(sampled), np.arange(len(answers.sign))
        self.sampled_comparisons = np.unique(answers.comparison[self.sample])
        # Answers of one person to one side are alike, as far as their probabilities go.
        kinds = 4 * answers.annotator + 2 * (answers.sign > 0) + answers.left
        self.example, self.kind = np.unique(kinds, return_index=True, return_inverse=True)[1:]
        self.place = len(SPREADS) // 2

    def predict(self, share: Floats, guess: Floats) -> Floats:
        """Return the probability of each answer, had it been read, by the others' votes on its comparison, [N]."""
        nodes, others = self.predict_differences(share, guess)
        read = expit(np.outer([1.0, -1.0], nodes))
        either = others @ read.T
        by_reading: Floats = np.where(self.answers.sign > 0, *either.T) / either.sum(axis=1)
        return by_reading

    def predict_differences(self, share: Floats, guess: Floats) -> tuple[Floats, Floats]:
        """Return differences [nodes] and their weights [N, nodes] by the others' votes, which do not sum to 1."""
        spread = self.fit_spread(share, guess)
        log_answers, log_votes = self.tabulate(self.everyone, share, guess, spread)
        weights = log_votes[self.answers.comparison]
        weights -= log_answers
        return spread * self.nodes, np.exp(weights, out=weights)

    def tabulate(self, rows: Indices, share: Floats, guess: Floats, spread: float) -> tuple[Floats, Floats]:
        """Log-probabilities of answers [rows, nodes], and of all votes on each comparison [comparisons, nodes]."""
        some = self.example
        read = (1 - share[some])[:, None] * expit(self.answers.sign[some][:, None] * spread * self.nodes)
        log_answers = np.log(read + (share * guess)[some][:, None])[self.kind[rows]]
        log_answers *= self.answers.evidence[rows][:, None]
        comparison = self.answers.comparison[rows]
        sums = [np.bincount(comparison, column, self.num_comparisons) for column in log_answers.T]
        return log_answers, np.stack(sums, axis=1) + self.log_node_weights

    def fit_spread(self, share: Floats, guess: Floats) -> float:
        """Return the likeliest standard deviation of the differences: from the last one uphill, then by a parabola."""

        def measure_evidence(place: int) -> float:
            _, log_votes = self.tabulate(self.sample, share, guess, float(SPREADS[place]))
            return float(np.log(np.exp(log_votes[self.sampled_comparisons]).sum(axis=1)).sum())

        evidence = {place: measure_evidence(place) for place in (self.place - 1, self.place, self.place + 1)}
        while 1 < self.place < len(SPREADS) - 2 and evidence[self.place] < max(evidence.values()):
            self.place += 1 if evidence[self.place + 1] > evidence[self.place] else -1
            evidence |= {place: measure_evidence(place) for place in (self.place - 1, self.place + 1)}
        low, middle, high = (evidence[self.place + step] for step in (-1, 0, 1))
        curvature = low - 2 * middle + high
        step = float(np.clip((low - high) / (2 * curvature), -1, 1)) if curvature < 0 else float(np.sign(high - low))
        return float(SPREADS[self.place] * (SPREADS[1] / SPREADS[0]) ** step)


class ByScores:
    """Differences by scores of responses that recur: scores are normal with mean 0, their variance by EM."""

    def __init__(self, answers: Answers) -> None:
        """Take the answers."""
        self.answers, self.num_responses = answers, int(max(answers.first.max(), answers.second.max())) + 1
        self.scores, self.variance = np.zeros(self.num_responses), 1.0
        response = np.concatenate([answers.first, answers.second])
        num_annotators = int(answers.annotator.max()) + 1
        self.response = response
        self.own = np.unique(response * num_annotators + np.tile(answers.annotator, 2), return_inverse=True)[1]

    def predict(self, share: Floats, guess: Floats) -> Floats:
        """Return the probability of each answer, had it been read, by scores without its annotator's answers, [N]."""
        difference, doubt = self.leave_out(share, guess)
        # The mean of sigmoid(d) over a normal d (MacKay 1992).
        by_reading: Floats = expit(self.answers.sign * difference / np.sqrt(1 + np.pi * doubt / 8))
        return by_reading

    def predict_differences(self, share: Floats, guess: Floats) -> tuple[Floats, Floats]:
        """Return differences [N, nodes] by the scores without the annotator's answers, and their weights [nodes]."""
        difference, doubt = self.leave_out(share, guess)
        return difference[:, None] + np.sqrt(doubt)[:, None] * NODES, np.exp(LOG_NODE_WEIGHTS)

    def leave_out(self, share: Floats, guess: Floats) -> tuple[Floats, Floats]:
        """Return the difference of scores without each answer's annotator, and its variance, [N] each.

        A score without somebody's answers is one Newton step by the diagonal of the curvature from the score with them.
        """
        self.fit(share, guess)
        pull, curvature = self.differentiate(self.scores, share, guess)
        both = np.bincount(self.response, np.tile(curvature, 2), self.num_responses) + 1 / self.variance
        own_pull = np.bincount(self.own, np.concatenate([pull, -pull]))[self.own]
        own_curvature = np.bincount(self.own, np.tile(curvature, 2))[self.own]
        others = both[self.response] - own_curvature
        first, second = np.split(self.scores[self.response] - own_pull / others, 2)
        by_first, by_second = np.split(1 / others, 2)
        return first - second, by_first + by_second

    def fit(self, share: Floats, guess: Floats, steps: int = 5) -> None:
        """Maximise the posterior of the scores, and their variance by EM."""
        for _ in range(steps):
            self.scores = minimize(self.objective, self.scores, (share, guess), jac=True, method="L-BFGS-B").x
            _, curvature = self.differentiate(self.scores, share, guess)
            both = np.bincount(self.response, np.tile(curvature, 2), self.num_responses) + 1 / self.variance
            seen = np.bincount(self.response, minlength=self.num_responses) > 0
            self.variance = float(np.clip((self.scores**2 + 1 / both)[seen].mean(), 0.01, 100))

    def objective(self, scores: Floats, share: Floats, guess: Floats) -> tuple[float, Floats]:
        """Return the negative log-posterior and its gradient."""
        right, probability = self.read(scores, share, guess)
        loss = -(self.answers.evidence * np.log(probability)).sum()
        pull = self.answers.evidence * (1 - share) * right / probability * self.answers.sign * (1 - right)
        gradient = np.bincount(self.response, np.concatenate([-pull, pull]), self.num_responses)
        return float(loss + scores @ scores / (2 * self.variance)), gradient + scores / self.variance

    def differentiate(self, scores: Floats, share: Floats, guess: Floats) -> tuple[Floats, Floats]:
        """Return the slope of each answer's log-probability by first minus second score, and minus its EM curvature."""
        right, probability = self.read(scores, share, guess)
        attention = self.answers.evidence * (1 - share) * right / probability
        return attention * self.answers.sign * (1 - right), attention * right * (1 - right)

    def read(self, scores: Floats, share: Floats, guess: Floats) -> tuple[Floats, Floats]:
        """Return the probability of each answer of a person who read it, and of one who may have been careless."""
        right = expit(self.answers.sign * (scores[self.answers.first] - scores[self.answers.second]))
        return right, (1 - share) * right + share * guess + 1e-300
