"""What a reward model keys on."""

import numpy as np
import pytest
import torch

from likelier.config import build_config
from likelier.explain.keys import SWAPS, correlate_within, measure_keys, measure_sentiment
from likelier.explain.run import RewardRun
from likelier.explain.sentences import describe
from likelier.records import Preference
from likelier.reward.pairs import Pairs


class LongerIsBetter:
    """A score that is the length of a response."""

    def score(self, prompts: list[str], responses: list[str]) -> torch.Tensor:
        return torch.tensor([float(len(response)) for response in responses])


def make_run(pairs: list[Preference]) -> RewardRun:
    return RewardRun(None, build_config({}), Pairs(pairs, [], pairs, ""), LongerIsBetter())  # type: ignore[arg-type]


def test_a_score_of_length_goes_with_length_and_people_need_not() -> None:
    words = ["good cat.", "a bad, bad dog sat there", "it ran", "we all went home!"]
    pairs = [
        Preference(f"p{a}", words[a], words[b], conversation=f"p{a}") for a in range(4) for b in range(4) if a != b
    ]
    keys = measure_keys(make_run(pairs))
    signs = {each["sign"]: each for each in keys["signs"]}
    assert signs["length"]["correlation"] > 0.95
    assert signs["length"]["people"] == pytest.approx(0.0)  # each text is chosen as often as it is rejected
    assert signs["lists and bold words"]["correlation"] is None
    swaps = {each["swap"]: each for each in keys["swaps"]}
    spread = np.std([len(pair.chosen) for pair in pairs])
    assert swaps["said twice"]["change"] == pytest.approx((np.mean([len(word) for word in words]) + 1) / spread)
    assert swaps["without punctuation"]["change"] == pytest.approx(-0.75 / spread)
    assert "Within pairs the score goes with length at +" in describe({"keys": keys})[0]


def test_correlation_within_pairs() -> None:
    r, interval = correlate_within(np.array([1.0, -1.0, 2.0]), np.array([1.0, -1.0, 0.0]), ["a", "b", "c"])
    assert r == pytest.approx(2 / (6 * 2) ** 0.5)
    assert interval is not None
    assert interval[0] < r < interval[1]
    assert correlate_within(np.ones(2), np.zeros(2), ["a", "b"]) == (None, None)
    assert correlate_within(np.ones(2), np.ones(2), ["a", "a"]) == (pytest.approx(1.0), None)


def test_the_interval_holds_the_correlation() -> None:
    held = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=80)
        y = 0.5 * x + generator.normal(size=80) * 0.75**0.5
        _, interval = correlate_within(x, y, [str(row // 2) for row in range(80)])
        assert interval is not None
        held += interval[0] < 0.5 < interval[1]
    assert held / 200 > 0.9


def test_signs_and_swaps_of_a_text() -> None:
    assert measure_sentiment("A good, nice day. Sorry!") == pytest.approx(1 / 5)
    assert SWAPS["said twice"](" Hi.") == " Hi. Hi."
    assert SWAPS["without punctuation"](" Hi, you!") == " Hi you"
    assert SWAPS["with a polite sentence more"](" Hi.") == " Hi. I hope this helps!"


def test_no_held_out_pairs() -> None:
    assert measure_keys(make_run([])) == {"signs": [], "swaps": []}
