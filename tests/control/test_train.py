"""The loop on environments: it learns, resumes to the same bits, and its updates start from a ratio of exactly 1."""

import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from forked import kill_when_changed
from likelier.config import build_config
from likelier.control.preferences import reward_model
from likelier.control.train import train_gym
from likelier.errors import DataError, LikelierError
from likelier.runs.checkpoints import list_checkpoints
from likelier.runs.run import Run

BROKEN_ENVS = str(Path(__file__).parents[1] / "broken_envs.py")
SMALL = {"num_envs": 4, "rollout_length": 32, "total_steps": 1024, "num_eval_episodes": 4, "gif": False}
VARIANTS = {
    "cartpole": {
        "env_id": "CartPole-v1",
        "cliprange_schedule": "linear",
        "frame_stack": 2,
        "normalize_observations": False,
        "normalize_rewards": False,
    },
    "pendulum": {"env_id": "Pendulum-v1", "state_dependent_std": True},
    "recurrent": {"env_id": "CartPole-v1", "recurrent": True},
    "preferences": {
        "env_id": "CartPole-v1",
        "preferences": {"simulated": 0.1, "comparisons": 20, "clip_seconds": 0.3, "ensemble_size": 2},
    },
}


def config(**gym):
    return build_config({"gym": SMALL | {"save_steps": 3} | gym})


def train(config, folder, resume="never"):
    with Run(folder, "gym", config, resume) as run:
        return train_gym(config, run)


def train_briefly(config, folder, resume="never"):
    """Train with short fits of learned rewards, in whatever process."""
    reward_model.FIRST_STEPS, reward_model.STEPS = 20, 10
    return train(config, folder, resume)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def fingerprint(folder):
    """Hash of everything that must be the same after a resume."""
    files = [folder / "metrics.jsonl", *sorted(list_checkpoints(folder)[0].glob("*.safetensors"))]
    files += sorted((folder / "model").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_learns_to_balance_a_pole(tmp_path):
    gym = {"rollout_length": 64, "num_envs": 8, "num_mini_batches": 4, "num_ppo_epochs": 8, "learning_rate": 2e-3}
    gym |= {"total_steps": 40_000, "gamma": 0.98, "lam": 0.9, "num_eval_episodes": 20}
    result = train(config(env_id="CartPole-v1", **gym), tmp_path)
    assert metrics(tmp_path)[0]["mean_return"] < 50
    assert result["eval_mean"] > 300
    assert result["steps"] == 39_936


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actions", "enough"),
    [
        ("discrete", 9.5),
        ("box", 8.0),
        pytest.param("multi", 9.0, marks=pytest.mark.battery),
        pytest.param("binary", 9.0, marks=pytest.mark.battery),
    ],
)
def test_learns_to_do_what_is_shown(tmp_path, actions, enough):
    gym = {
        "env_id": f"{BROKEN_ENVS}:Identity",
        "env_args": {"actions": actions},
        "total_steps": 8000,
        "learning_rate": 3e-3,
    }
    gym |= {"gamma": 0.0, "num_ppo_epochs": 10, "num_mini_batches": 2, "log_std": -0.5}
    assert train(config(**gym), tmp_path)["eval_mean"] > enough


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["cartpole", pytest.param("pendulum", marks=pytest.mark.battery), "recurrent", "preferences"]
)
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path, name, monkeypatch):
    for constant in ("FIRST_STEPS", "STEPS"):
        monkeypatch.setattr(reward_model, constant, getattr(reward_model, constant))  # put back at the end
    settings, killed = config(**VARIANTS[name]), tmp_path / "killed"
    train_briefly(settings, tmp_path / "whole")
    kill = partial(kill_when_changed, tmp_path, killed / "latest")
    hits = [kill(delay, train_briefly, settings, killed, "auto") for delay in (0.05, 0.01)]
    assert any(hits)
    train_briefly(settings, killed, "auto")
    assert fingerprint(killed) == fingerprint(tmp_path / "whole")


def test_the_first_ratio_of_every_update_is_exactly_one(tmp_path):
    for name, gym in VARIANTS.items():
        train(config(**gym, num_mini_batches=4), tmp_path / name)
        assert [line["first_ratio_deviation"] for line in metrics(tmp_path / name)] == [0.0] * 8
        assert max(line["ratio_deviation"] for line in metrics(tmp_path / name)) > 0.0


def test_an_environment_that_is_more_than_its_seed_and_actions_is_named_when_resumed(tmp_path):
    settings = config(env_id=f"{BROKEN_ENVS}:UnseededNoise")
    train(settings, tmp_path)
    longer = config(env_id=f"{BROKEN_ENVS}:UnseededNoise").model_copy(
        update={"gym": settings.gym.model_copy(update={"save_steps": 1})}
    )
    with pytest.raises(DataError, match="UnseededNoise: environment 0"):
        train(longer, tmp_path, "auto")


def test_steps_stay_below_what_was_asked_for(tmp_path):
    result = train(config(env_id=f"{BROKEN_ENVS}:Sound", total_steps=300), tmp_path)
    assert result["steps"] == 256
    assert [line["env_steps"] for line in metrics(tmp_path)] == [128, 256]
    assert metrics(tmp_path)[-1]["episodes"] == 4 * (64 // 5)
    assert result["env_id"].endswith("broken_envs.py:Sound")


def test_an_evaluation_without_end_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("likelier.control.evaluate.MAX_EPISODE_STEPS", 50)
    with pytest.raises(LikelierError, match=r"did not end in 50 steps; set gym\.max_episode_steps"):
        train(config(env_id=f"{BROKEN_ENVS}:Endless"), tmp_path / "endless")
    result = train(config(env_id=f"{BROKEN_ENVS}:Endless", max_episode_steps=20), tmp_path / "cut")
    assert result["eval_mean"] == 0.0


def test_the_gif_is_drawn_or_says_why_not_and_an_environment_without_pictures_is_no_problem(tmp_path, monkeypatch):
    drawn = train(config(env_id="CartPole-v1", gif=True, total_steps=128), tmp_path / "drawn")
    assert Path(drawn["gif"]).read_bytes().startswith(b"GIF89a")
    assert drawn["gif_problem"] is None
    plain = train(config(env_id=f"{BROKEN_ENVS}:Sound", gif=True, total_steps=128), tmp_path / "plain")
    assert (plain["gif"], plain["gif_problem"]) == (None, None)  # it was reported as "Sound() takes no arguments"
    monkeypatch.setattr("likelier.control.evaluate.render_frame", lambda env: 1 / 0)
    broken = train(config(env_id="CartPole-v1", gif=True, total_steps=128), tmp_path / "broken")
    assert broken["gif"] is None
    assert "division by zero" in broken["gif_problem"]


@pytest.mark.battery
def test_the_defaults_learn_a_continuous_task_in_few_steps(tmp_path):
    """A quarter of the passes and of the minibatches left the policy as wide as it was: -4.7 here."""
    settings = {"env_id": f"{BROKEN_ENVS}:Aim", "total_steps": 16384, "num_eval_episodes": 4, "gif": False}
    found = train(build_config({"gym": settings}), tmp_path)
    assert found["eval_mean"] > -2.5  # -3 by not learning at all


def test_an_agent_goes_on_learning(tmp_path):
    """It begins with the weights and moments of another run, and with the checkpoint alone after a kill."""
    train(config(total_steps=256), tmp_path / "before")
    agent = tmp_path / "before" / "model"
    gone_on = config(agent=str(agent), learning_rate=1e-12, total_steps=256)
    train(gone_on, tmp_path / "on")
    before, after = (load_file(folder / "model.safetensors") for folder in (agent, tmp_path / "on" / "model"))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in before)
    counts = [load_file(folder / "moments.safetensors")["count"] for folder in (agent, tmp_path / "on" / "model")]
    assert counts[1] == pytest.approx(2 * float(counts[0]), rel=0.01)
    for path in agent.iterdir():
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(LikelierError, match="gym.agent"):  # what it was made from has changed
        train(gone_on, tmp_path / "on", "auto")


@pytest.mark.parametrize(
    ("gym", "line"),
    [
        ({"hidden_sizes": [8]}, "is of another network; observations, actions, gym.hidden_sizes and"),
        ({"env_id": "Pendulum-v1"}, "is of another network"),
        ({"normalize_observations": False}, "was trained with gym.normalize_observations=true; set it so"),
        ({"agent": "."}, r"gym.agent: . holds no agent; name the folder `model` of a run"),
    ],
)
def test_an_agent_that_does_not_fit_is_one_line(tmp_path, gym, line):
    train(config(total_steps=128), tmp_path / "before")
    with pytest.raises(LikelierError, match=line) as caught:
        train(config(**{"agent": str(tmp_path / "before" / "model")} | gym), tmp_path / "on")
    assert caught.value.exit_code == 2
