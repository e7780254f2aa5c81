"""`likelier demo --people`: a visitor judges while a quick reward model predicts each answer."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from likelier.circle import Result
from likelier.feedback.store import Store
from likelier.intervals import Floats
from likelier.records import JudgedComparison, Text
from likelier.reward.head_prior import Gaussian, Learner
from likelier.runs.round import Round
from likelier.text.conversation import render
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.padding import pad_right
from likelier.text.tokens import encode
from likelier.web.server import serve

NUM_ANSWERS = 60
PRIOR = Path(__file__).with_name("prior.npz")
SPREAD = 3.0
"""Standard deviation of a weight of a visitor about whom nothing is assumed; rows have a mean squared length of 1."""


class TastePrior(NamedTuple):
    """Prior over people's tastes, in the directions of some features; made by `make_prior.py`."""

    basis: Floats
    """[D, K]: features to the directions in which tastes are learned."""
    weights: Gaussian

    @classmethod
    def load(cls, path: Path = PRIOR) -> "TastePrior":
        """Read a file written by `save`."""
        with np.load(path) as stored:
            basis, mean, covariance = (stored[name].astype(float) for name in ("basis", "mean", "covariance"))
        return cls(basis, Gaussian(mean, covariance))

    def save(self, path: Path) -> None:
        """Write the file, in single precision."""
        basis, mean, covariance = (each.astype(np.float32) for each in (self.basis, *self.weights))
        np.savez_compressed(path, basis=basis, mean=mean, covariance=covariance)

    def make_learner(self) -> Learner:
        """Return a learner that knows no answer: it believes the prior until people of no known taste explain more."""
        size = len(self.weights.mean)
        return Learner([self.weights, Gaussian(np.zeros(size), SPREAD**2 * np.eye(size))])


def ask_visitor(circle_round: Round) -> Result:
    """Serve the annotation page until the visitor has given sixty answers."""
    with Store.open(circle_round.db) as store:
        if (num_missing := NUM_ANSWERS - store.counts()["judgements"]) > 0:
            guesser = QuickGuesser(circle_round.model, store, TastePrior.load())
            serve(store, port=0, open_browser=True, wanted=num_missing, guesser=guesser)
        return {"judgements": store.counts()["judgements"]}


class QuickGuesser:
    """Bradley-Terry model on a language model's mean last hidden states, which learns from each answer at once.

    It begins with what simulated people with tastes of the demo's kind want, and with knowing nothing, and believes the
    one that foretold the answers so far.
    """

    def __init__(self, model: str, store: Store, prior: TastePrior) -> None:
        self.describe, self.store, self.prior = Describer(model), store, prior
        self.learner, self.learned = prior.make_learner(), list[str]()

    def __call__(self, prompt: Text, left: str, right: str) -> float:
        """Return the probability that the left response wins."""
        self.learn()
        difference = self.describe(prompt, left) - self.describe(prompt, right)
        return self.learner.predict(difference @ self.prior.basis)

    def learn(self) -> None:
        """Learn the new answers except ties; all of them anew where one was taken back."""
        judged = [item for item in self.store.judged() if item.is_text and item.judgement.choice != "tie"]
        answers = [f"{item.judgement.key} {item.judgement.preferred}" for item in judged]
        if answers[: len(self.learned)] != self.learned:
            self.learner, self.learned = self.prior.make_learner(), []
        for item in judged[len(self.learned) :]:
            self.learner.add(self.difference(item) @ self.prior.basis)
        self.learned = answers

    def difference(self, item: JudgedComparison) -> Floats:
        """Return the winner's features minus the loser's, [D]."""
        left, right = (self.describe(item.prompt.text, response.text) for response in (item.left, item.right))
        return left - right if item.judgement.choice == "left" else right - left


class Describer:
    """Mean last hidden state of a language model over a response, with its length, [D]; cached."""

    def __init__(self, model: str) -> None:
        self.model, self.tokenizer = load_causal_lm(model), load_tokenizer(model)
        self.cached: dict[tuple[str, str], Floats] = {}

    @torch.no_grad()
    def __call__(self, prompt: Text, response: str) -> Floats:
        """Return the features of a response."""
        opening = render(self.tokenizer, prompt)
        if (opening, response) not in self.cached:
            tokens, _ = pad_right(encode(self.tokenizer, [opening + response]))
            hidden = self.model.base_model(input_ids=tokens).last_hidden_state[0]
            self.cached[opening, response] = np.append(hidden.mean(0).double().numpy(), len(response) / 100)
        return self.cached[opening, response]
