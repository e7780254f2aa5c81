"""Training again on fewer comparisons, and what is said of it."""

from pathlib import Path

import pytest

from likelier.config import build_config
from likelier.errors import DataError
from likelier.explain.curve import draw_order, measure_curve
from likelier.explain.run import RewardRun
from likelier.explain.sentences import describe
from likelier.records import Preference
from likelier.reward.ensemble import Ensemble
from likelier.reward.pairs import Pairs
from likelier.text.reward_model import new_reward_model
from tiny import save_tiny_model

PAIRS = [Preference(f" {a} {b}", " a", " b", conversation=a + b) for a in "abcdefgh" for b in "abcdefgh"]


def make_run(folder: Path, train: list[Preference], test: list[Preference]) -> RewardRun:
    model = save_tiny_model(folder / "model", words=list("abcdefgh"))
    settings = {"num_epochs": 1, "batch_size": 8, "learning_rate": 0.01, "device": "cpu"}
    config = build_config({"model": str(model), "data": "pairs", "reward_model": settings})
    return RewardRun(folder, config, Pairs(train, [], test, "hash"), Ensemble([new_reward_model(model)], [0.0]))


def test_points_are_the_run_and_smaller_trainings_in_two_orders(tmp_path: Path) -> None:
    curve = measure_curve(make_run(tmp_path, PAIRS * 2, PAIRS[:9]), [100, 200])
    assert [(point["size"], point["order"]) for point in curve["points"]] == [
        (128, -1), (32, 0), (64, 0), (32, 1), (64, 1)
    ]  # fmt: skip
    assert curve["accuracy"] == curve["points"][0]["accuracy"]
    assert [each["more"] for each in curve["forecasts"]] == [100, 200]
    for each in curve["forecasts"]:
        assert each["gain_interval"][0] < each["gain"] < each["gain_interval"][1]


def test_an_order_keeps_conversations_together() -> None:
    pairs = [Preference("p", "a", "b", conversation=name) for name in "abcabcabc"]
    drawn = [pairs[row].conversation for row in draw_order(pairs, 0, 0)]
    assert sorted(drawn[::3]) == ["a", "b", "c"]
    assert drawn[0::3] == drawn[1::3] == drawn[2::3]


def test_too_few_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pairs: 64 pairs to train on and 0 held-out ones are too few"):
        measure_curve(make_run(tmp_path, PAIRS, []), [100])


def test_sentences() -> None:
    forecasts = [
        {"more": 500, "gain": 0.015, "gain_interval": [0.005, 0.025]},
        {"more": 3000, "gain": 0.03, "gain_interval": [-0.01, 0.06]},
    ]
    assert describe({"curve": {"pairs": 2000, "accuracy": 0.84, "forecasts": forecasts}}) == [
        "500 more judgements to train on: +0.5 to +2.5 points of accuracy (80 % interval) from 84.0%.",
        "3,000 more judgements to train on: -1.0 to +6.0 points of accuracy (80 % interval) from 84.0%.",
        "That is more than twice what there is, further than forecasts were checked.",
    ]
    assert describe({}) == []
