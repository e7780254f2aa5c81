"""Careless shares by the words of the responses, where the judgements alone can tell none.

Where no comparison is judged twice and no response recurs, nothing can be compared but what was written: a person whose
answers the words explain no better than a coin's is careless. Computed before training from the pairs alone, and not
from the scores in training, which come to fit the answers of careless people too; so a resumed run has the same shares.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit

from likelier.intervals import Floats
from likelier.noise.careless import estimate_shares
from likelier.progress import print_note
from likelier.records import Preference
from likelier.reward.check import PENALTIES, chosen_and_rejected, fit_logistic, make_vocabulary, word_counts
from likelier.reward.judged import clusters, flips, log_losses, targets, weights
from likelier.reward.pairs import Pairs

FOLDS, ROUNDS = 5, 4
"""Parts of the pairs, each of which is predicted from the others; times that words and shares are weighed in turn."""


def learn_flips(pairs: Pairs) -> Pairs:
    """Return the pairs with `flip` of the people whose share was `unidentified`; the same object if there are none."""
    people = sorted({pair.annotator for pair in pairs.train if pair.flip_kind == "unidentified"} - {""})
    if len(people) < 2:
        return pairs
    shares = estimate_by_words(pairs.train, people)
    if shares is None:
        print_note("careless shares: the words of the responses do not explain the answers, so everybody is believed")
        return pairs
    flip = {name: round(share, 3) / 2 for name, share in zip(people, shares.tolist(), strict=True)}
    print_note(f"careless shares by the words of the responses: {shares.mean():.0%} of {len(people)} people's answers")
    train, valid, test = (set_flips(part, flip) for part in (pairs.train, pairs.valid, pairs.test))
    return Pairs(train, valid, test, pairs.made_from)


def set_flips(pairs: Sequence[Preference], flip: dict[str, float]) -> list[Preference]:
    """Return pairs with the flips of people whose share was unidentified."""
    return [
        replace(pair, flip=flip[pair.annotator], flip_kind="careless")
        if pair.flip_kind == "unidentified" and pair.annotator in flip
        else pair
        for pair in pairs
    ]


def estimate_by_words(pairs: Sequence[Preference], people: Sequence[str]) -> Floats | None:
    """Return the careless share of each of the people; None if words predict the answers no better than a coin."""
    pairs = [pair for pair in pairs if pair.target != 0.5]
    columns, target, share = count_words(pairs), targets(pairs), np.minimum(2 * flips(pairs), 1.0)
    folds = np.unique(clusters(pairs), return_inverse=True)[1] % FOLDS
    unknown = np.flatnonzero([pair.flip_kind == "unidentified" and pair.annotator in people for pair in pairs])
    annotator = np.searchsorted(people, [pairs[row].annotator for row in unknown]).astype(np.int64)
    base, read, shares = weights(pairs), np.ones(len(pairs)), np.zeros(len(people))
    by_penalty = {each: predict_left_out(columns, target, base, folds, each) for each in PENALTIES}
    penalty = min(by_penalty, key=lambda each: float(log_losses(by_penalty[each], target).mean()))
    difference = by_penalty[penalty]
    if log_losses(difference, target).mean() >= np.log(2):
        return None
    for _ in range(ROUNDS):
        # Words weigh answers by the probability that they were read, as in EM; left-out scores are too large or small.
        scale = max(0.0, float(fit_logistic(csr_matrix(difference[:, None]), target, base * read, 1e-3)[0]))
        right = expit(scale * difference * np.sign(target - 0.5))
        shares = estimate_shares(annotator, right[unknown], np.full(len(unknown), 0.5), len(people)).mean
        share[unknown] = shares[annotator]
        read = (1 - share) * right / ((1 - share) * right + share / 2)
        difference = predict_left_out(columns, target, base * read, folds, penalty)
    return shares


def count_words(pairs: Sequence[Preference]) -> csr_matrix:
    """Return the words of the chosen response less those of the rejected one, [pairs, words]."""
    chosen, rejected = chosen_and_rejected(pairs)
    vocabulary = make_vocabulary([*chosen, *rejected])
    return word_counts(chosen, vocabulary) - word_counts(rejected, vocabulary)


def predict_left_out(
    columns: csr_matrix, target: Floats, weight: Floats, folds: NDArray[np.int64], penalty: float
) -> Floats:
    """Return the score differences of each fold by words that were weighed on the other folds, [pairs]."""
    differences = np.zeros(len(target))
    for fold in range(FOLDS):
        rest = folds != fold
        differences[~rest] = columns[~rest] @ fit_logistic(columns[rest], target[rest], weight[rest], penalty)
    return differences
