"""A model of people's ratings: ridge regression of their scores on the reference's last hidden layer.

A response's score is s = b + w . x + u, with x the mean of the hidden states over its tokens, each standardised over
the rated responses, and u, of variance t, what is its own; its ratings say s with an error of known variance v (Fay and
Herriot 1979). The penalty of w is the one of a grid with the smallest error when each response is left out once (PRESS,
Allen 1974: the residual divided by 1 minus its leverage), so that few ratings give a constant and many a slope; t is
such that the left-out errors are as large as v + t says (Paule and Mandel 1982). What nobody rated has the score
b + w . x. A rated response has the mean of that, as it is without its own ratings, and of these, weighted by 1 / t and
1 / v: one rating is noise as much as opinion, and what others like it were given says as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.feedback.ordinal import SCORE_SD
from likelier.records import Text
from likelier.text.models import context_length
from likelier.text.tokens import encode_with_response

Floats = NDArray[np.float64]

PENALTIES = 10.0 ** np.arange(-3, 4.5, 0.5)
"""Of the squared weights, as shares of the number of rated responses; the last one leaves almost a constant."""
MIN_FOR_SLOPE = 4
"""Rated responses; from fewer the model is their mean, and the own variance the prior's."""
MIN_FOR_CORRELATION = 10
ROUNDS = 3
"""Of weights by the own variance, and own variance by the left-out errors."""
MIN_VARIANCE = 0.01
"""Of what is a response's own: none at all would leave its ratings no say."""


class HiddenStates:
    """Describes responses by the last hidden layer of the frozen reference; each text is run alone and once.

    Alone, since the bits of a row in a batch depend on the others, and a resumed run must have the same.
    """

    def __init__(self, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.reference, self.tokenizer = reference, tokenizer
        self.known: dict[tuple[str, str], Floats] = {}
        """By prompt and response, so that a rated response is not run again in each step."""

    def describe(self, prompts: Sequence[Text], responses: Sequence[str], keep: bool = True) -> Floats:
        """Return the features of responses [N, D]; without `keep` they are not remembered."""
        rows = []
        for prompt, response in zip(prompts, responses, strict=True):
            key = (repr(prompt), response)
            row = self.known[key] if key in self.known else self.run(prompt, response)
            if keep:
                self.known[key] = row
            rows.append(row)
        return np.stack(rows)

    @torch.no_grad()
    def run(self, prompt: Text, response: str) -> Floats:
        """Return the mean hidden state of the response's tokens, [D]."""
        prompt_ids, response_ids = encode_with_response(self.tokenizer, prompt, response, end=False)
        tokens = (prompt_ids + response_ids)[-context_length(self.reference) :]
        size = min(max(len(response_ids), 1), len(tokens))  # of an empty response the prompt's last token speaks
        row = torch.tensor([tokens], device=self.reference.device)
        hidden = self.reference.base_model(input_ids=row).last_hidden_state[0, -size:]
        mean: Floats = hidden.mean(0).double().cpu().numpy()
        return mean


@dataclass(frozen=True)
class RatingModel:
    """Result of `fit_rating_model`."""

    offset: float
    weights: Floats
    """[D]"""
    mean: Floats
    """[D]"""
    scale: Floats
    """[D]"""
    own_variance: float
    """Variance of what is a response's own."""
    rated: Floats
    """Scores of the rated responses, [N]."""
    correlation: float | None
    """Between what ratings say and the predictions without them, 0 at least; None: too few responses."""

    def predict(self, features: Floats) -> Floats:
        """Return the scores [N] of responses that nobody rated, with these features [N, D]."""
        return self.offset + ((features - self.mean) / self.scale) @ self.weights


class LeftOut(NamedTuple):
    """Ridge regression, and its predictions of each response when it is left out."""

    weights: Floats
    predictions: Floats


def fit_rating_model(features: Floats, scores: Floats, variances: Floats) -> RatingModel:
    """Fit what ratings say of responses, scores [N] with these variances [N], to their features [N, D]."""
    own_variance, num = SCORE_SD**2, len(scores)
    for _ in range(ROUNDS):
        weight = (1 / (variances + own_variance)) / (1 / (variances + own_variance)).mean()
        offset, mean = float(np.average(scores, weights=weight)), np.average(features, axis=0, weights=weight)
        spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
        scale = np.where(spread > 1e-8, spread, np.inf)  # what never varies says nothing
        if num < MIN_FOR_SLOPE or not np.isfinite(scale).any() or np.ptp(scores) == 0:
            found = LeftOut(np.zeros(features.shape[1]), np.full(num, offset))
            break
        found = regress((features - mean) / scale, scores - offset, weight)
        found = found._replace(predictions=found.predictions + offset)
        own_variance = match_variance(scores - found.predictions, variances)
    rated = (scores / variances + found.predictions / own_variance) / (1 / variances + 1 / own_variance)
    is_known = num >= MIN_FOR_CORRELATION and np.ptp(found.predictions) > 0
    # Almost a constant, it would correlate negatively: the mean of the others is low where the one left out is high.
    correlation = max(0.0, float(np.corrcoef(found.predictions, scores)[0, 1])) if is_known else None
    return RatingModel(offset, found.weights, mean, scale, own_variance, rated, correlation)


def regress(features: Floats, scores: Floats, weight: Floats) -> LeftOut:
    """Regress centred scores [N] on centred features [N, D] with the penalty of the smallest left-out error."""
    root = np.sqrt(weight)
    left, size, right = np.linalg.svd(root[:, None] * features, full_matrices=False)
    projected, fits = left.T @ (root * scores), []
    for penalty in len(scores) * PENALTIES:
        shrunk = size**2 / (size**2 + penalty)
        leverage = np.minimum((left**2) @ shrunk + weight / weight.sum(), 1 - 1e-9)  # the offset has one too
        residual = (root * scores - left @ (shrunk * projected)) / (1 - leverage)
        found = LeftOut(right.T @ (size / (size**2 + penalty) * projected), scores - residual / root)
        fits.append((float(residual @ residual), found))
    return min(fits, key=lambda fit: fit[0])[1]


def match_variance(errors: Floats, variances: Floats) -> float:
    """Return t such that the mean of errors^2 / (variances + t) is 1, at least `MIN_VARIANCE`."""

    def excess(own: float) -> float:
        return float(np.mean(errors**2 / (variances + own))) - 1

    if excess(MIN_VARIANCE) <= 0:
        return MIN_VARIANCE
    return float(brentq(excess, MIN_VARIANCE, float(np.max(errors**2)) + MIN_VARIANCE))
