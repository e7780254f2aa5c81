"""Quality of a reward model on held-out pairs, compared with length and bag-of-words baselines."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.records import Preference
from likelier.reward.calibration import (
    calibration,
    calibration_error,
    calibration_interval,
    check_by_chance,
    check_temperature,
)
from likelier.reward.judged import asked_weights, clusters, flips, judgement_logits, log_losses, targets, weights
from likelier.text.words import split_words

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def check_scores(difference: Floats, pairs: Sequence[Preference]) -> dict[str, Any]:
    """Accuracy, log loss and calibration of score differences, chosen minus rejected, on held-out pairs.

    The scores predict judgements, so the predicted probabilities account for each annotator's error rate (`flip`).
    """
    right, target, logits = compute_hits(difference, pairs), targets(pairs), judgement_logits(difference, pairs)
    asked = asked_weights(pairs)
    return {
        "accuracy": float(np.average(right, weights=asked)),
        "accuracy_interval": rate_interval(right, clusters(pairs), asked if (asked != 1).any() else None),
        "log_loss": float(np.average(log_losses(logits, target), weights=asked)),
        "calibration_error": calibration_error(logits, target, asked),
        "calibration": calibration(logits, target, asked),
        "pairs": len(pairs),
    }


def check_calibration(
    difference: Floats, pairs: Sequence[Preference], valid_difference: Floats, valid: Sequence[Preference]
) -> dict[str, Any]:
    """How sure one can be of the calibration error on held-out pairs, and what a temperature makes of it.

    `valid` are pairs apart from `pairs` to fit the temperature on; there may be none.
    """
    logits, asked = judgement_logits(difference, pairs), asked_weights(pairs)
    return {
        "calibration_error_interval": calibration_interval(logits, pairs),
        "calibration_error_by_chance": float(check_by_chance(logits, asked).mean()),
        **check_temperature(difference, pairs, valid_difference, valid),
    }


def check_baselines(
    difference: Floats, train: Sequence[Preference], valid: Sequence[Preference], test: Sequence[Preference]
) -> dict[str, Any]:
    """Evaluate length and bag-of-words baselines, fitted on `train`, and the model's gain over length."""
    right = compute_hits(difference, test)
    by_length = compute_hits(fit_length(train)(test), test)
    words = fit_bag_of_words(train, valid or train)
    by_words = compute_hits(words.differences(test), test)
    equal_length = select_equal_length(test)
    alike_clusters = [clusters(test)[index] for index in equal_length]
    return {
        "length_only_accuracy": float(by_length.mean()),
        "bag_of_words_accuracy": float(by_words.mean()),
        "over_length_only": float((right - by_length).mean()),
        "over_length_only_interval": mean_interval(right - by_length, clusters(test)),
        "over_bag_of_words": float((right - by_words).mean()),
        "over_bag_of_words_interval": mean_interval(right - by_words, clusters(test)),
        "equal_length_accuracy": float(right[equal_length].mean()),
        "equal_length_interval": rate_interval(right[equal_length], alike_clusters),
    }


def compute_hits(difference: Floats, pairs: Sequence[Preference]) -> Floats:
    """Return 1 where the chosen response scores higher, 0 where lower, 1/2 for equal scores or a tie.

    Judgements of annotators with `flip` above 1/2, who mostly answer wrongly, are reversed.
    """
    side = np.sign(difference) * np.where(flips(pairs) > 0.5, -1, 1)
    return np.where(targets(pairs) == 0.5, 0.5, (side + 1) / 2)


def length_differences(pairs: Sequence[Preference]) -> Floats:
    """Return the length of the chosen response minus that of the rejected one, in characters."""
    return np.array([float(len(pair.chosen) - len(pair.rejected)) for pair in pairs])


def select_equal_length(pairs: Sequence[Preference]) -> list[int]:
    """Return the third of the pairs with the smallest length difference; ties in file order."""
    order = np.argsort(np.abs(length_differences(pairs)), kind="stable")
    return sorted(order[: max(1, len(pairs) // 3)].tolist())


def fit_length(train: Sequence[Preference]) -> Callable[[Sequence[Preference]], Floats]:
    """Fit a logistic regression on the length difference alone; returns a function from pairs to score differences."""
    scale = float(np.abs(length_differences(train)).mean()) or 1.0
    columns = csr_matrix(length_differences(train)[:, None] / scale)
    factor = fit_logistic(columns, targets(train), weights(train), penalty=1e-3)[0] / scale
    return lambda pairs: factor * length_differences(pairs)


@dataclass(frozen=True)
class BagOfWords:
    """A bag-of-words score: the sum over words of weight times log(1 + count)."""

    vocabulary: dict[str, int]
    weights: Floats

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the score of each text, [N]."""
        scores: Floats = word_counts(texts, self.vocabulary) @ self.weights
        return scores

    def differences(self, pairs: Sequence[Preference]) -> Floats:
        """Return the scores of chosen minus rejected responses, [N]."""
        chosen, rejected = chosen_and_rejected(pairs)
        return self.scores(chosen) - self.scores(rejected)


def fit_bag_of_words(train: Sequence[Preference], valid: Sequence[Preference]) -> BagOfWords:
    """Fit a logistic regression on differences of bags of words; the penalty is chosen by the loss on `valid`."""
    chosen, rejected = chosen_and_rejected(train)
    vocabulary = make_vocabulary([*chosen, *rejected])
    columns = word_counts(chosen, vocabulary) - word_counts(rejected, vocabulary)
    candidates = [
        BagOfWords(vocabulary, fit_logistic(columns, targets(train), weights(train), penalty)) for penalty in PENALTIES
    ]
    return min(candidates, key=lambda words: log_losses(words.differences(valid), targets(valid)).mean())


def chosen_and_rejected(pairs: Sequence[Preference]) -> tuple[list[str], list[str]]:
    """Return the chosen and the rejected texts."""
    return [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]


def make_vocabulary(texts: Sequence[str], min_texts: int = 2) -> dict[str, int]:
    """Assign a column to each lower-case word that occurs in at least `min_texts` texts."""
    counts = Counter(word for text in texts for word in set(lower_words(text)))
    return {
        word: index for index, word in enumerate(sorted(word for word, count in counts.items() if count >= min_texts))
    }


def lower_words(text: str) -> list[str]:
    """Split into lower-case words."""
    return split_words(text.lower())


def word_counts(texts: Sequence[str], vocabulary: dict[str, int]) -> csr_matrix:
    """log(1 + count) of each word in the vocabulary, [texts, words]."""
    counts = [Counter(word for word in lower_words(text) if word in vocabulary) for text in texts]
    columns = [vocabulary[word] for count in counts for word in count]
    values = np.log1p([times for count in counts for times in count.values()])
    starts = np.cumsum([0, *map(len, counts)])
    return csr_matrix((values, columns, starts), shape=(len(texts), len(vocabulary)))


def fit_logistic(columns: csr_matrix | Floats, target: ArrayLike, weight: ArrayLike, penalty: float) -> Floats:
    """Fit a penalised logistic regression: coefficients [D] for columns [N, D], sparse or dense.

    Minimises the sum of weight * -(t log sigmoid(x w) + (1 - t) log sigmoid(-x w)) + penalty |w|^2 / 2.
    feedback/audit.py has another solver, for hundreds of small regressions at once.
    """
    targets, weights = np.asarray(target, float), np.asarray(weight, float)

    def loss_and_gradient(w: Floats) -> tuple[float, Floats]:
        logits = columns @ w
        loss = weights @ log_losses(logits, targets) + penalty * (w @ w) / 2
        return float(loss), columns.T @ (weights * (expit(logits) - targets)) + penalty * w

    coefficients: Floats = minimize(loss_and_gradient, np.zeros(columns.shape[1]), jac=True, method="L-BFGS-B").x
    return coefficients
