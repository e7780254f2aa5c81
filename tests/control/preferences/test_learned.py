"""The reward of a run: when it asks, about what, what it says of itself, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from likelier.config import GymConfig, build_config
from likelier.control.envs import VectorEnv
from likelier.control.preferences import learned, reward_model
from likelier.control.preferences.judges import SimulatedJudge
from likelier.control.preferences.learned import LearnedReward, describe_accuracy, plan_rounds, raise_gamma
from likelier.control.train import State, train_gym
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError
from likelier.files import read_json, read_jsonl
from likelier.metrics import GYM
from likelier.runs.run import Run

BROKEN_ENVS = str(Path(__file__).parents[2] / "broken_envs.py")
SMALL = {"env_id": "CartPole-v1", "num_envs": 2, "rollout_length": 64, "num_mini_batches": 1, "total_steps": 512}
SMALL |= {"num_ppo_epochs": 1, "num_eval_episodes": 2, "gif": False}
PREFERENCES = {"simulated": 0.0, "comparisons": 12, "clip_seconds": 0.4}


@pytest.fixture(autouse=True)
def learn_little(monkeypatch):
    monkeypatch.setattr(reward_model, "FIRST_STEPS", 40)
    monkeypatch.setattr(reward_model, "STEPS", 20)


def train(folder, preferences=None, **more):
    config = build_config({"gym": SMALL | more | {"preferences": PREFERENCES | (preferences or {})}})
    with Run(folder, "gym", config) as run:
        return train_gym(config, run)


def test_a_quarter_at_once_and_then_ever_fewer():
    plan = plan_rounds(100, 401)
    assert list(plan)[:3] + list(plan)[-1:] == [0, 20, 40, 300]  # 16 rounds over three quarters of 400
    assert (plan[0], plan[20], plan[300]) == (25, 40, 100)  # 25 + 75 log10(1.6) = 40.3
    new = np.diff(list(plan.values()))
    assert new[0] > 2 * new[-1] > 0
    assert plan_rounds(3, 1) == {0: 3}


def test_what_a_run_asks_learns_and_reports(tmp_path):
    result = train(tmp_path)
    lines = [line for _, line in read_jsonl(tmp_path / "preferences.jsonl")]
    assert [len(line["answers"]) for line in lines] == [
        sum(len(each["pairs"]) for each in lines[: at + 1]) for at in range(len(lines))
    ]
    assert result["preferences"]["asked"] == result["preferences"]["answered"] == 12
    assert result["preferences"]["steps_before"] % 128 == 0
    metrics = [line for _, line in read_jsonl(tmp_path / "metrics.jsonl")]
    names = {metric.name for metric in GYM if metric.name.startswith("preferences/")}
    assert {name for name in metrics[-1] if name.startswith("preferences/")} == names
    assert [line["preferences/asked"] for line in metrics] == sorted(line["preferences/asked"] for line in metrics)
    assert metrics[-1]["preferences/asked"] == 12
    for first, second in lines[0]["pairs"]:
        assert first != second
        assert first[3] - first[2] <= 20


def test_the_discount_is_raised_for_a_learned_reward_alone(tmp_path, monkeypatch):
    """Pendulum's tuned 0.9 belongs to its own reward; more than the least is kept."""
    notes = []
    monkeypatch.setattr(learned, "print_note", notes.append)
    seen = [(0.9, None), (0.9, PREFERENCES), (0.99, PREFERENCES), (0.9, PREFERENCES | {"min_gamma": 0.0})]
    gyms = [build_config({"gym": {"gamma": gamma, "preferences": block}}).gym for gamma, block in seen]
    assert [raise_gamma(gym).gamma for gym in gyms] == [0.9, 0.98, 0.99, 0.9]
    assert notes == ["gym.preferences: gamma 0.9 is for the environment's own reward; 0.98 is used"]
    train(tmp_path, gamma=0.5)
    assert read_json(tmp_path / "model" / "config.json")["gamma"] == 0.98


def test_entropy_has_a_bonus_until_the_last_comparisons(tmp_path):
    """5 steps: the last round is in step 3 (0.75 of 4), where nothing is left of 0.3; in step 1 two thirds of it."""
    extra = {"entropy_coef": 0.3}
    config = build_config(
        {"gym": SMALL | {"total_steps": 640, "entropy_coef": 0.01, "preferences": PREFERENCES | extra}}
    )
    with Watchdog(60) as watchdog, VectorEnv(config.gym, 0, watchdog) as vector_env:
        reward = LearnedReward(config.gym, vector_env, SimulatedJudge(0.0, 0), 0, tmp_path)
        state = State(vector_env, config.gym, 0, torch.device("cpu"), tmp_path, reward)
        used = [state.anneal(step)[1].entropy_coef for step in range(5)]
        assert used == pytest.approx([0.31, 0.21, 0.11, 0.01, 0.01])
        state.learned = None
        assert state.anneal(0)[1].entropy_coef == 0.01


def test_pairs_on_which_the_members_disagree_are_asked_about(tmp_path):
    metrics = {}
    for how in ("disagreement", "random"):
        train(tmp_path / how, {"choose": how})
        metrics[how] = [line for _, line in read_jsonl(tmp_path / how / "metrics.jsonl")]
    assert metrics["disagreement"][-1]["preferences/disagreement"] > metrics["random"][-1]["preferences/disagreement"]


def test_the_environments_reward_is_only_reported(tmp_path):
    """OneForever pays 1 a step; the learned reward is another, and the return that is logged the environment's."""
    result = train(tmp_path, env_id=f"{BROKEN_ENVS}:OneForever", max_episode_steps=16)
    assert result["mean_return"] == 16.0
    last = [line for _, line in read_jsonl(tmp_path / "metrics.jsonl")][-1]
    assert last["preferences/reward"] != pytest.approx(1.0, abs=0.01)


def test_a_reward_at_chance_is_said_in_words(capsys):
    assert describe_accuracy(0.8, [0.7, 0.88], 90).endswith(
        "80% (70% to 88%) of 90 answers that it did not learn from."
    )
    assert "too few to tell that from chance; more comparisons" in describe_accuracy(0.55, [0.4, 0.7], 40)
    assert "no better than chance; more comparisons" in describe_accuracy(0.51, [0.45, 0.57], 300)
    assert "nothing is known of it" in describe_accuracy(None, None, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give exactly one of db and simulated"),
        ({"db": "a.db", "simulated": 0.1}, "give exactly one of db and simulated"),
        ({"simulated": 0.1, "ensemble_size": 1}, "one reward disagrees with nobody; set ensemble_size to 2 or more"),
        ({"simulated": 0.1, "wait_minutes": 1}, "wait_minutes would have no effect: there is no `db` to ask people"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        GymConfig(preferences=given)


def test_what_cannot_be_learned_from_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"the reward reads vectors, and .*PixelGrid shows pictures"):
        train(tmp_path / "pictures", env_id=f"{BROKEN_ENVS}:PixelGrid")
    monkeypatch.setattr(learned, "MAX_FIRST_ROLLOUTS", 2)
    with pytest.raises(ConfigError, match=r"256 steps of the untrained policy give \d+ clips of 20 steps, and \d+ are"):
        train(tmp_path / "few", {"comparisons": 900})
    monkeypatch.setattr(learned, "draws_pictures", lambda gym: False)
    with pytest.raises(ConfigError, match="has no render mode rgb_array, so that nobody can see clips"):
        train(tmp_path / "blind", {"simulated": None, "db": str(tmp_path / "c.db")})
