"""People with a taste that no group has, alone or a few: told apart from who answers at random, or all in reverse."""

from collections.abc import Mapping, Sequence

import numpy as np

from likelier.feedback.expected import responses_recur
from likelier.feedback.flags import MIN_SHARED
from likelier.feedback.taste_model import Panel, fit_single
from likelier.feedback.tastes import NUM_FOLDS, choose_votes, compare_predictions, fit_weights, make_design, make_panel
from likelier.feedback.votes import Floats, Votes
from likelier.records import Response

MIN_OWN, OWN_Z = 40, 3.0
"""Answers that are no ties that it takes, and standard errors by which a person's other answers must predict those left
out beyond what the others like, forwards or backwards: one in a thousand who answer at random pass."""
SHARED_Z, TOGETHER_Z = 1.645, 2.326
"""Standard errors by which the other suspects' answers must predict a suspect's, and all suspects' together: one in
twenty at random passes among people who share a taste, and next to none among others."""


def find_own_tastes(
    votes: Votes,
    left_better: Floats,
    people: Sequence[int],
    responses: Sequence[Response],
    features: Floats | None = None,
    alone: Sequence[int] = (),
    copies: Mapping[int, Sequence[int]] = {},
) -> list[int]:
    """Return which of `people`, who are suspected to answer at random, answer by a taste, alone or together.

    Their answers follow from their own other answers, or from the other suspects', to other comparisons or to the very
    same, beyond what all others say (`left_better` [N]), the others' taste, and habits of side or length: people at
    random do not agree with one another. Of `alone`, who look reversed, only their own answers count: people who answer
    the reverse agree, too. `copies` has with whom somebody agrees as a copy does, which says nothing of a taste.
    `responses` and `features` as in `find_tastes`.
    """
    together = keep_shared(compare_answers(votes, left_better, [each for each in people if each not in alone], copies))
    by_taste = find_tastes_of(votes, left_better, people, responses, features, alone)
    return [person for person in people if person in together or person in by_taste]


def compare_answers(
    votes: Votes, left_better: Floats, people: Sequence[int], copies: Mapping[int, Sequence[int]]
) -> dict[int, float]:
    """Return by how many standard errors the others' answers to the same comparisons predict each person's, beyond what
    all say (`left_better` [N]) and habits of side or length; of people with `MIN_SHARED` such comparisons."""
    rows = np.isin(votes.annotator, people) & (votes.sign != 0)
    among, said = votes.select(rows), left_better[rows]
    size = int(among.comparison.max(initial=0)) + 1
    found = {}
    for person in people:
        others = ~np.isin(among.annotator, [person, *copies.get(person, ())])
        net = np.bincount(among.comparison[others], among.labels[others], size)
        mine = (among.annotator == person) & (np.bincount(among.comparison[others], minlength=size) > 0)[
            among.comparison
        ]
        if mine.sum() < MIN_SHARED:
            continue
        asked, left = among.select(mine), among.sign[mine] > 0
        known = np.stack([said[mine], asked.longer, np.ones(len(left))], axis=1)
        logits = known @ fit_weights(known, left)
        more = logits + net[asked.comparison] * asked.left_is_first
        found[person] = compare_predictions(logits, more, left, asked.comparison).z
    return found


def keep_shared(z: Mapping[int, float]) -> list[int]:
    """Return the people whose answers the others' predict, if those of all together are predicted.

    Two people who agree predict each other: half of the z are the same, so that the sum of k has the variance 2 k.
    """
    together = sum(z.values()) / np.sqrt(2 * max(len(z), 1)) >= TOGETHER_Z
    return [person for person, each in z.items() if together and each >= SHARED_Z]


def find_tastes_of(
    votes: Votes,
    left_better: Floats,
    people: Sequence[int],
    responses: Sequence[Response],
    features: Floats | None,
    alone: Sequence[int],
) -> list[int]:
    """Return which of `people` answer by a taste for responses that recur or for what texts say; see above."""
    rows, fitted = choose_votes(votes, int(votes.annotator.max(initial=0)) + 1)
    if not people or not len(fitted):
        return []
    model = "scores" if features is None and responses_recur(votes) else "features"
    panel = make_panel(votes.select(rows), make_design(votes.select(rows), responses, model, features)[1], fitted)
    if panel.design.shape[1] == 0:
        return []
    who = fitted[panel.annotator]
    own, shared = [], {}
    for person in people:
        mine = who == person
        if not mine.any():
            continue
        asked = panel.select(mine)
        known = predict_by_others(asked, panel.select(~mine), left_better[rows][mine])
        if mine.sum() >= MIN_OWN and add_taste(asked, known, predict_by_own(asked)) >= OWN_Z:
            own.append(person)
        suspects = np.isin(who, [each for each in people if each not in alone]) & ~mine
        if person not in alone and suspects.any():
            shared[person] = add_taste(asked, known, asked.design @ fit_single(panel.select(suspects)).tastes[0])
    return [*own, *keep_shared(shared)]


def predict_by_others(asked: Panel, others: Panel, left_better: Floats) -> Floats:
    """Return log-odds of left by what others say and like, and by habits, as they fit a person best, [N]."""
    taste = asked.design @ fit_single(others).tastes[0]
    known = np.stack([left_better, taste, asked.longer, np.ones(len(taste))], axis=1)
    logits: Floats = known @ fit_weights(known, asked.left)
    return logits


def predict_by_own(asked: Panel) -> Floats:
    """Return log-odds of left by the same person's answers to other comparisons, [N]."""
    comparisons = np.unique(asked.comparison, return_inverse=True)[1]
    folds = np.random.default_rng(0).permutation(len(comparisons))[comparisons] % NUM_FOLDS
    predicted = np.zeros(len(folds))
    for fold in range(NUM_FOLDS):
        # Without habits: who leans to a side or a length has no taste for it.
        taste = fit_single(asked.select(folds != fold)).tastes[0]
        predicted[folds == fold] = (asked.design @ taste)[folds == fold]
    return predicted


def add_taste(asked: Panel, known: Floats, predicted: Floats) -> float:
    """Return by how many standard errors log-odds `predicted` add to those `known`, [N] each."""
    return compare_predictions(known, known + predicted, asked.left, asked.comparison).z
