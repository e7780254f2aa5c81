"""Careless shares by words, where each response is seen once."""

from dataclasses import replace

import numpy as np
import pytest

from likelier.records import Preference
from likelier.reward.careless import learn_flips
from likelier.reward.pairs import Pairs


def draw_pairs(people: int, each: int, coins: int, seed: int = 0) -> list[Preference]:
    """Responses of words with values of their own; the first people ignore them."""
    generator = np.random.default_rng(seed)
    words, values = [f"w{number}" for number in range(12)], generator.normal(0, 1.5, 12)
    pairs = []
    for row in range(people * each):
        sides = [generator.integers(12, size=5) for _ in range(2)]
        gain = sum(values[sides[0]]) - sum(values[sides[1]])
        first = generator.random() < (0.5 if row % people < coins else 1 / (1 + np.exp(-gain)))
        texts = [" ".join(words[place] for place in side) for side in sides]
        chosen, rejected = texts if first else texts[::-1]
        names = {"annotator": f"p{row % people}", "conversation": str(row), "flip_kind": "unidentified"}
        pairs.append(Preference(f"{row}", chosen, rejected, **names))
    return pairs


@pytest.fixture(scope="module")
def learned() -> Pairs:
    drawn = draw_pairs(people=6, each=60, coins=2)
    return learn_flips(Pairs(drawn[:300], drawn[300:330], drawn[330:], "key"))


def test_coins_are_told_from_readers(learned: Pairs) -> None:
    flip = {pair.annotator: pair.flip for pair in learned.train}
    assert min(flip["p0"], flip["p1"]) > 0.35
    assert max(flip[f"p{number}"] for number in range(2, 6)) < 0.05
    for part in (learned.valid, learned.test):
        assert {pair.annotator: pair.flip for pair in part} == flip
    assert {pair.flip_kind for pair in learned.train} == {"careless"}


def test_flips_that_are_known_stay() -> None:
    drawn = draw_pairs(people=3, each=4, coins=0)
    named = [replace(pair, flip=0.2, flip_kind="careless") for pair in drawn]
    for pairs in (Pairs(named, [], [], "key"), Pairs([replace(pair, flip_kind="") for pair in drawn], [], [], "key")):
        assert learn_flips(pairs) is pairs
    anonymous = Pairs([replace(pair, annotator="") for pair in drawn], [], [], "key")
    assert learn_flips(anonymous) is anonymous


def test_everybody_is_believed_where_words_say_nothing() -> None:
    pairs = Pairs(draw_pairs(people=3, each=40, coins=3), [], [], "key")
    assert learn_flips(pairs) is pairs
