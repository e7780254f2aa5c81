"""`likelier demo --people`: a visitor judges while a quick reward model predicts each answer."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from likelier.circle import Result
from likelier.feedback.store import Store
from likelier.records import JudgedComparison, Text
from likelier.reward.check import fit_logistic
from likelier.runs.round import Round
from likelier.text.conversation import render
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.padding import pad_right
from likelier.text.tokens import encode
from likelier.web.server import serve

NUM_ANSWERS = 60
L2_PENALTY = 1.0
"""Ridge penalty of the coefficients, against overfitting a few dozen answers."""
Floats = NDArray[np.float64]


def ask_visitor(circle_round: Round) -> Result:
    """Serve the annotation page until the visitor has given sixty answers."""
    with Store.open(circle_round.db) as store:
        if (num_missing := NUM_ANSWERS - store.counts()["judgements"]) > 0:
            serve(store, port=0, open_browser=True, wanted=num_missing, guesser=QuickGuesser(circle_round.model, store))
        return {"judgements": store.counts()["judgements"]}


class QuickGuesser:
    """Bradley-Terry model on a language model's mean last hidden states, refitted after each answer in milliseconds."""

    def __init__(self, model: str, store: Store) -> None:
        self.model, self.tokenizer, self.store = load_causal_lm(model), load_tokenizer(model), store
        self.cached_features: dict[tuple[str, str], Floats] = {}
        self.weights: Floats | None = None
        self.fitted_on = 0

    def __call__(self, prompt: Text, left: str, right: str) -> float:
        """Return the probability that the left response wins; 0.5 before the first answer."""
        self.refit()
        if self.weights is None:
            return 0.5
        return float(expit((self.features(prompt, left) - self.features(prompt, right)) @ self.weights))

    def refit(self) -> None:
        """Refit to all answers except ties, if there are new ones."""
        judged = [item for item in self.store.judged() if item.is_text and item.judgement.choice != "tie"]
        if len(judged) == self.fitted_on:
            return
        self.weights, self.fitted_on = (
            fit_bradley_terry(np.stack([self.difference(item) for item in judged])),
            len(judged),
        )

    def difference(self, item: JudgedComparison) -> Floats:
        """Return the winner's features minus the loser's, [D]."""
        sides = [self.features(item.prompt.text, response.text) for response in (item.left, item.right)]
        return sides[0] - sides[1] if item.judgement.choice == "left" else sides[1] - sides[0]

    @torch.no_grad()
    def features(self, prompt: Text, response: str) -> Floats:
        """Return the mean hidden state and the length of a response, [D]; cached."""
        opening = render(self.tokenizer, prompt)
        if (opening, response) not in self.cached_features:
            tokens, _ = pad_right(encode(self.tokenizer, [opening + response]))
            hidden = self.model.base_model(input_ids=tokens).last_hidden_state[0]
            self.cached_features[opening, response] = np.append(hidden.mean(0).double().numpy(), len(response) / 100)
        return self.cached_features[opening, response]


def fit_bradley_terry(differences: Floats) -> Floats:
    """Return the weights [D] of a score under which the winners win.

    `differences` [N, D]: features of the winner minus those of the loser.
    """
    wins = np.ones(len(differences))
    return fit_logistic(differences, wins, wins, L2_PENALTY)
