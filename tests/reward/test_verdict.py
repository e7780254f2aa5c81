"""The verdict on a reward run: which numbers are called good, unproven or useless, and what PPO makes of them."""

import pytest

from likelier.config import RewardSource, build_config
from likelier.errors import ConfigError
from likelier.files import write_json
from likelier.reward.verdict import assess_reward_model, check_reward_runs, read_reward_results
from likelier.rlhf.setup import prepare

GOOD = {
    "accuracy": 0.8,
    "accuracy_interval": [0.74, 0.86],
    "pairs": 300,
    "length_only_accuracy": 0.6,
    "over_length_only": 0.2,
    "over_length_only_interval": [0.13, 0.27],
    "bag_of_words_accuracy": 0.7,
    "over_bag_of_words": 0.1,
    "over_bag_of_words_interval": [0.04, 0.16],
}
README = GOOD | {"accuracy": 0.29, "accuracy_interval": [0.15, 0.45], "pairs": 27, "length_only_accuracy": 0.94}
SHORT_OF_LENGTH = GOOD | {"over_length_only_interval": [-0.2, -0.01], "length_only_accuracy": 0.9}


@pytest.mark.parametrize(
    ("result", "name", "words"),
    [
        (GOOD, "beats_baselines", "80 % of 300 unseen pairs"),
        (README, "at_chance", "29 % of only 27 unseen pairs as people did; a coin ranks 50 %. Do not train on it"),
        (GOOD | {"accuracy": 0.5}, "at_chance", "Do not train on it"),
        (SHORT_OF_LENGTH, "below_length", "length alone ranks 90 %"),
        (GOOD | {"accuracy_interval": [0.5, 0.9]}, "unproven", "the interval holds 50 %"),
        (GOOD | {"accuracy_interval": None}, "unproven", "may be a coin"),
        (GOOD | {"over_length_only_interval": [-0.1, 0.1]}, "no_better_than_baselines", "length alone (60 %) cannot"),
        (GOOD | {"over_bag_of_words_interval": [0.0, 0.1]}, "no_better_than_baselines", "single words (70 %) cannot"),
        ({"accuracy": None}, "unmeasured", "nothing is known"),
        ({}, "unmeasured", "nothing is known"),
    ],
)
def test_the_verdict_by_hand(result, name, words):
    verdict = assess_reward_model(result)
    assert verdict.name == name
    assert words in verdict.sentence
    assert verdict.is_usable == (name not in ("at_chance", "below_length"))


@pytest.mark.parametrize("result", [README, SHORT_OF_LENGTH], ids=["at chance", "below length"])
def test_ppo_does_not_train_on_a_reward_at_chance_unless_anyway(tmp_path, capsys, monkeypatch, result):
    """Before any model is loaded: the base does not exist."""
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    write_json(tmp_path / "run" / "result.json", result)
    settings = {"model": str(tmp_path / "none"), "reward": [{"model": str(tmp_path / "run" / "model"), "name": "mine"}]}
    with pytest.raises(ConfigError, match="reward: mine: .* --anyway trains on it all the same"):
        prepare(build_config(settings))
    with pytest.raises(Exception, match=r"none|prompts"):  # it came as far as the models
        prepare(build_config(settings | {"ppo": {"anyway": True}}))
    assert "warning: reward mine: It ranks" in capsys.readouterr().err


def test_an_unproven_reward_is_a_warning_and_a_good_or_unmeasured_one_is_silent(capsys, monkeypatch):
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    check_reward_runs({"a": GOOD, "b": {"accuracy": None}}, anyway=False)
    assert capsys.readouterr().err == ""
    check_reward_runs({"a": GOOD | {"accuracy_interval": [0.45, 0.9]}}, anyway=False)
    assert "the interval holds 50 %" in capsys.readouterr().err


def test_a_reward_at_chance_does_not_hide_behind_another_of_its_name(tmp_path):
    """Both models lie in a folder `model`: the result of the last was taken for that of both."""
    results = {"bad": GOOD | {"accuracy": 0.5}, "good": GOOD}
    for name, result in results.items():
        write_json(tmp_path / name / "result.json", result)
    found = read_reward_results([RewardSource(model=str(tmp_path / name / "model")) for name in results])
    assert found == {"model": results["bad"], "model 2": GOOD}
    with pytest.raises(ConfigError, match="reward: model: It ranks 50 %"):
        check_reward_runs(found, anyway=False)
