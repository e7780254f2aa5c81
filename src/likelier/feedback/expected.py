"""Predictions of each answer from the others' answers: by scores of responses that recur, else by their votes."""

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.consensus import fit_one_coin
from likelier.feedback.reliability import encode_choices, fit_posterior_mode, leave_annotators_out
from likelier.feedback.votes import Votes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
SkillModel = Literal["dawid_skene", "skilled_bradley_terry"]
CHOICES = {1.0: "left", -1.0: "right", 0.0: "tie"}
MIN_RECURRING = 0.5
"""Share of votes on two responses that both stand in other comparisons too, from which responses have scores."""


class Expected(NamedTuple):
    """Predictions from the others' answers; all annotators' own answers are left out of what they are compared with."""

    model: SkillModel
    left_better: Floats
    """[N]: above 0 where the left response is better by the others, 0 where they say nothing. By votes P(left is
    better) - P(right is better), by scores their difference in log-odds."""
    error_rates: Floats
    """[annotators]: estimated share of wrong answers among those that are no tie; 0.5 without any."""


def expect_answers(votes: Votes, num_annotators: int) -> Expected:
    """Return what the others say of each vote, by the model that the comparisons allow; all votes name a person."""
    return (expect_by_scores if responses_recur(votes) else expect_by_votes)(votes, num_annotators)


def expect_within_groups(votes: Votes, num_annotators: int, group: Indices) -> Expected:
    """Return what the others of a person's group say of each of their votes; `group` [annotators] is -1 without one,
    and such people are compared with everybody."""
    expected = expect_answers(votes, num_annotators)
    left_better, error_rates = expected.left_better.copy(), expected.error_rates.copy()
    expect = expect_by_scores if expected.model == "skilled_bradley_terry" else expect_by_votes
    for number in np.unique(group[group >= 0]):
        rows = group[votes.annotator] == number
        members, people = np.unique(votes.annotator[rows], return_inverse=True)
        own = expect(replace(votes.select(rows), annotator=people), len(members))
        left_better[rows], error_rates[members] = own.left_better, own.error_rates
    return Expected(expected.model, left_better, error_rates)


def responses_recur(votes: Votes) -> bool:
    """Return True if most votes are on responses that both stand in other comparisons too."""
    sides, comparisons = np.concatenate([votes.left, votes.right]), np.tile(votes.comparison, 2)
    pairs = np.unique(sides * (int(comparisons.max(initial=0)) + 1) + comparisons)
    num_comparisons = np.bincount(pairs // (int(comparisons.max(initial=0)) + 1))
    recurring = (num_comparisons[votes.left] > 1) & (num_comparisons[votes.right] > 1)
    return bool(recurring.mean() >= MIN_RECURRING)


def expect_by_votes(votes: Votes, num_annotators: int) -> Expected:
    """Return what the others' votes on the same comparison say, by Dawid and Skene with one accuracy per annotator.

    The two classes of a comparison are its responses, sorted by id. A vote has the weight log(accuracy / error). An
    annotator's own votes are subtracted, so that nobody is compared with a consensus that includes them.
    """
    decided, error_rates = votes.sign != 0, np.full(num_annotators, 0.5)
    if decided.any():
        labels = (votes.labels < 0)[decided].astype(int)
        crowd = fit_one_coin(votes.comparison[decided], votes.annotator[decided], labels)
        error_rates[crowd.annotators] = crowd.confusion[:, 0, 1]
    weights = votes.labels * np.log((1 - error_rates) / error_rates)[votes.annotator]
    own = np.unique(votes.comparison * num_annotators + votes.annotator, return_inverse=True)[1]
    log_odds = np.bincount(votes.comparison, weights)[votes.comparison] - np.bincount(own, weights)[own]
    return Expected("dawid_skene", np.tanh(votes.left_is_first * log_odds / 2), error_rates)


def expect_by_scores(votes: Votes, num_annotators: int) -> Expected:
    """Return what the scores of the two responses say, by the Bradley-Terry model with annotator skills.

    A response's score without an annotator's own votes is one Newton step from its score with them.
    """
    choices = [CHOICES[sign] for sign in votes.sign.tolist()]
    data = encode_choices(votes.left, votes.right, votes.annotator, choices)[2]  # type: ignore[arg-type]
    left_better = leave_annotators_out(data, fit_posterior_mode(data))
    decided = (votes.sign != 0) & (left_better != 0)
    wrong = decided & (votes.sign * left_better < 0)
    counts = (np.bincount(votes.annotator[rows], minlength=num_annotators) for rows in (wrong, decided))
    num_wrong, num_decided = counts
    rates = np.divide(num_wrong, num_decided, out=np.full(num_annotators, 0.5), where=num_decided > 0)
    return Expected("skilled_bradley_terry", left_better, rates)
