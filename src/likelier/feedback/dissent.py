"""People with a taste that no group has, alone or a few: told apart from who answers at random, or all in reverse."""

from collections.abc import Sequence

import numpy as np

from likelier.feedback.expected import responses_recur
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
) -> list[int]:
    """Return which of `people`, who are suspected to answer at random, answer by a taste, alone or together.

    Their answers follow from their own other answers, or from the other suspects', beyond what all others say
    (`left_better` [N]), the others' taste, and habits of side or length: people at random do not agree with one
    another. Of `alone`, who look reversed, only their own answers count: people who answer the reverse agree, too.
    `responses` and `features` as in `find_tastes`.
    """
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
    # Two people who agree predict each other: half of the z are the same, so that the sum of k has the variance 2 k.
    together = sum(shared.values()) / np.sqrt(2 * max(len(shared), 1)) >= TOGETHER_Z
    return [person for person in people if person in own or (together and shared.get(person, 0.0) >= SHARED_Z)]


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
