"""The quick guesser learns a visitor's taste from a few answers."""

import numpy as np
import pytest

from likelier.circle import Round
from likelier.config import build_config
from likelier.demo import people
from likelier.demo.people import QuickGuesser, fit_bradley_terry
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response
from tiny import save_tiny_model


def test_fit_by_hand():
    # one feature, all n differences are 1: n * (1 - sigmoid(w)) = w; for n = 2: w = 0.8350
    weights = fit_bradley_terry(np.ones((2, 1)))
    assert weights[0] == pytest.approx(2 / (1 + np.exp(weights[0])), abs=1e-5)
    assert weights[0] > 0


def test_a_visitor_who_comes_back_is_asked_for_the_rest(tmp_path, monkeypatch):
    wanted_counts = []
    circle_round = Round(build_config({"model": "m"}), tmp_path, str(tmp_path / "f.db"), "m", tmp_path)
    prompt = Prompt("so")
    pair = Comparison(prompt.id, *[Response(prompt.id, text).id for text in ("good", "bad")])
    with Store.open(circle_round.db, create=True) as store:
        store.add_prompts([prompt])
        store.add_responses([Response(prompt.id, "good"), Response(prompt.id, "bad")])
        store.add_comparisons([pair])
        for number in range(59):
            store.add_judgement(Judgement(pair.id, "me", pair.response_a, pair.response_b, "left", key=str(number)))

    def page(store, wanted, **settings):
        wanted_counts.append(wanted)
        store.add_judgement(Judgement(pair.id, "me", pair.response_a, pair.response_b, "left", key="last"))

    monkeypatch.setattr(people, "QuickGuesser", lambda model, store: None)
    monkeypatch.setattr(people, "serve", page)
    assert people.ask_visitor(circle_round) == {"judgements": 60}
    assert people.ask_visitor(circle_round) == {"judgements": 60}
    assert wanted_counts == [1]


def test_guesses_follow_the_answers(tmp_path):
    save_tiny_model(tmp_path / "model", words=["good", "bad", "so"])
    with Store.open(tmp_path / "f.db", create=True) as store:
        guesser = QuickGuesser(str(tmp_path / "model"), store)
        assert guesser("so", "good", "bad") == 0.5
        for number in range(12):
            prompt = Prompt("so " * (number + 1))
            good, bad = Response(prompt.id, "good good", "m"), Response(prompt.id, "bad bad", "m")
            pair = Comparison(prompt.id, good.id, bad.id)
            store.add_prompts([prompt])
            store.add_responses([good, bad])
            store.add_comparisons([pair])
            store.add_judgement(Judgement(pair.id, "me", left=bad.id, right=good.id, choice="right"))
        assert guesser("so so", "good good", "bad bad") > 0.6
        assert guesser("so so", "bad bad", "good good") < 0.4
