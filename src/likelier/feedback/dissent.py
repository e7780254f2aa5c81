"""People who are alone with a taste of their own: told apart from who answers at random, or everything in reverse."""

from collections.abc import Sequence

import numpy as np

from likelier.feedback.expected import responses_recur
from likelier.feedback.taste_model import fit_single
from likelier.feedback.tastes import NUM_FOLDS, choose_votes, compare_predictions, fit_weights, make_design, make_panel
from likelier.feedback.votes import Floats, Votes
from likelier.records import Response

MIN_OWN, OWN_Z = 40, 3.0
"""Answers that are no ties that it takes, and standard errors by which a person's other answers must predict those left
out beyond what the others like, forwards or backwards: one in a thousand who answer at random pass."""


def find_own_tastes(
    votes: Votes,
    left_better: Floats,
    people: Sequence[int],
    responses: Sequence[Response],
    features: Floats | None = None,
) -> list[int]:
    """Return which of `people` answer by a taste of their own.

    Their answers follow from their other answers, beyond what all others say (`left_better` [N]), the others' taste,
    and habits of side or length. `responses` and `features` as in `find_tastes`.
    """
    rows, fitted = choose_votes(votes, int(votes.annotator.max(initial=0)) + 1)
    if not people or not len(fitted):
        return []
    model = "scores" if features is None and responses_recur(votes) else "features"
    panel = make_panel(votes.select(rows), make_design(votes.select(rows), responses, model, features)[1], fitted)
    own = []
    for person in people:
        mine = fitted[panel.annotator] == person
        if mine.sum() < MIN_OWN or panel.design.shape[1] == 0:
            continue
        asked = panel.select(mine)
        others = asked.design @ fit_single(panel.select(~mine)).tastes[0]
        comparisons = np.unique(asked.comparison, return_inverse=True)[1]
        folds = np.random.default_rng(0).permutation(len(comparisons))[comparisons] % NUM_FOLDS
        predicted = np.zeros(len(folds))
        for fold in range(NUM_FOLDS):
            # Without habits: who leans to a side or a length has no taste for it.
            taste = fit_single(asked.select(folds != fold)).tastes[0]
            predicted[folds == fold] = (asked.design @ taste)[folds == fold]
        known = [left_better[rows][mine], others, asked.longer, np.ones(len(folds))]
        known_logits = np.stack(known, axis=1) @ fit_weights(np.stack(known, axis=1), asked.left)
        if compare_predictions(known_logits, known_logits + predicted, asked.left, asked.comparison).z >= OWN_Z:
            own.append(person)
    return own
