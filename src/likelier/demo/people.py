"""`likelier demo --people`: the visitor judges, and a quick reward model guesses each answer before it is given."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from likelier.circle import Result, Round
from likelier.feedback.store import Store
from likelier.records import JudgedComparison, Text
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.tokens import encode, pad_id, pad_right, render
from likelier.web.server import serve

WANTED = 60
PENALTY = 1.0
"""Weight of the squared coefficients: a few dozen answers must not be learned by heart."""
Floats = NDArray[np.float64]


def ask_visitor(at: Round) -> Result:
    """Open the judging page until the visitor has answered sixty questions."""
    with Store.open(at.db) as store:
        if (wanted := WANTED - store.counts()["judgements"]) > 0:
            serve(store, port=0, open_browser=True, wanted=wanted, guesser=QuickGuesser(at.model, store))
        return {"judgements": store.counts()["judgements"]}


class QuickGuesser:
    """Bradley-Terry on what the language model makes of a text (its last hidden states, averaged): fitted anew from
    all answers so far in a few milliseconds, so that the next guess knows the last answer."""

    def __init__(self, model: str, store: Store) -> None:
        self.model, self.tokenizer, self.store = load_causal_lm(model), load_tokenizer(model), store
        self.known: dict[tuple[str, str], Floats] = {}
        self.weights: Floats | None = None
        self.fitted_on = 0

    def __call__(self, prompt: Text, left: str, right: str) -> float:
        """Probability that the left response wins."""
        self.refit()
        if self.weights is None:
            return 0.5
        return float(expit((self.features(prompt, left) - self.features(prompt, right)) @ self.weights))

    def refit(self) -> None:
        """Fit to every answer that is no tie, if there are new ones."""
        judged = [item for item in self.store.judged() if item.is_text and item.judgement.choice != "tie"]
        if len(judged) == self.fitted_on:
            return
        self.weights, self.fitted_on = fit(np.stack([self.difference(item) for item in judged])), len(judged)

    def difference(self, item: JudgedComparison) -> Floats:
        """Features of the winner less those of the loser."""
        sides = [self.features(item.prompt.text, response.text) for response in (item.left, item.right)]
        return sides[0] - sides[1] if item.judgement.choice == "left" else sides[1] - sides[0]

    @torch.no_grad()
    def features(self, prompt: Text, response: str) -> Floats:
        opening = render(self.tokenizer, prompt)
        if (opening, response) not in self.known:
            tokens, _ = pad_right(encode(self.tokenizer, [opening + response]), pad_id(self.tokenizer))
            hidden = self.model.base_model(input_ids=tokens).last_hidden_state[0]
            self.known[opening, response] = np.append(hidden.mean(0).double().numpy(), len(response) / 100)
        return self.known[opening, response]


def fit(differences: Floats) -> Floats:
    """[N, D] winner less loser -> [D] weights that minimise -sum log sigmoid(difference @ w) + PENALTY / 2 |w|^2."""

    def objective(weights: Floats) -> tuple[float, Floats]:
        margins = differences @ weights
        loss = -log_expit(margins).sum() + PENALTY / 2 * weights @ weights
        return float(loss), PENALTY * weights - expit(-margins) @ differences

    found: Floats = minimize(objective, np.zeros(differences.shape[1]), jac=True, method="L-BFGS-B").x
    return found
