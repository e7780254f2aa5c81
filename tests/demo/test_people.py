"""The quick guesser learns a visitor's taste from a few answers."""

import numpy as np

from likelier.circle import Round
from likelier.config import build_config
from likelier.demo import people
from likelier.demo.people import QuickGuesser, TastePrior
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.reward.head_prior import Gaussian
from tiny import save_tiny_model


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

    monkeypatch.setattr(people, "QuickGuesser", lambda model, store, prior: None)
    monkeypatch.setattr(people, "serve", page)
    assert people.ask_visitor(circle_round) == {"judgements": 60}
    assert people.ask_visitor(circle_round) == {"judgements": 60}
    assert wanted_counts == [1]


def test_guesses_follow_the_answers(tmp_path):
    save_tiny_model(tmp_path / "model", words=["good", "bad", "so"])
    with Store.open(tmp_path / "f.db", create=True) as store:
        prior = TastePrior(np.eye(17), Gaussian(np.zeros(17), np.eye(17)))  # 16 hidden numbers and the length
        guesser = QuickGuesser(str(tmp_path / "model"), store, prior)
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
        again = Judgement(pair.id, "me", left=bad.id, right=good.id, choice="left", key="changed my mind")
        store.add_judgement(again)
        fresh = QuickGuesser(str(tmp_path / "model"), store, prior)
        assert guesser("so", "good", "bad") == fresh("so", "good", "bad")
