"""Distributions against hand-worked numbers; images reach the network; a saved agent acts as before."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from likelier.config import GymConfig, build_config
from likelier.control.agent import load_agent
from likelier.control.distributions import Categorical, Gaussian, Mixed, MultiCategorical
from likelier.control.envs import VectorEnv
from likelier.control.train import State, train_gym
from likelier.control.watchdog import Watchdog
from likelier.runs.checkpoints import list_checkpoints
from likelier.runs.run import Run

BROKEN_ENVS = str(Path(__file__).parents[1] / "broken_envs.py")


def test_categorical_by_hand():
    logits = torch.tensor([[math.log(1.0), math.log(3.0)]])
    logprobs, entropy = Categorical(2).logprobs_and_entropy(logits, torch.tensor([[1]]))
    assert logprobs.item() == pytest.approx(math.log(0.75))
    assert entropy.item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_categorical_samples_as_often_as_it_says():
    kind, draw = Categorical(2), torch.Generator().manual_seed(0)
    logits = np.log([1.0, 3.0])
    share = kind.sample(logits, kind.noise((20_000,), draw)).mean()
    assert share == pytest.approx(0.75, abs=0.01)


def test_several_choices_add_up():
    kind = MultiCategorical((2, 3))
    logits = torch.zeros(1, 5)
    logprobs, entropy = kind.logprobs_and_entropy(logits, torch.tensor([[1, 2]]))
    assert logprobs.item() == pytest.approx(-math.log(6))
    assert entropy.item() == pytest.approx(math.log(6))
    assert kind.mode(np.array([[0.0, 1.0, 0.0, 0.0, 1.0]])).tolist() == [[1, 2]]


@pytest.mark.parametrize("dependent", [False, True])
def test_gaussian_by_hand(dependent):
    kind = Gaussian(2, math.log(2.0), dependent)
    outputs = torch.tensor([[1.0, -1.0, 0.0, 0.0]]) if dependent else torch.tensor([[1.0, -1.0]])
    logprobs, entropy = kind.logprobs_and_entropy(outputs, torch.tensor([[3.0, -1.0]]))
    one = math.log(2 * math.sqrt(2 * math.pi))
    assert logprobs.item() == pytest.approx(-0.5 - 2 * one, rel=1e-6)
    assert entropy.item() == pytest.approx(2 * (one + 0.5), rel=1e-6)
    assert kind.sample(outputs.numpy(), np.array([[1.0, 0.0]])).tolist() == [[3.0, -1.0]]


def test_numbers_and_categories_at_once_by_hand():
    kind = Mixed(Gaussian(1, math.log(2.0), dependent=False), MultiCategorical((2, 3)))
    assert (kind.num_outputs, kind.num_noise) == (6, 6)
    logprobs, entropy = kind.logprobs_and_entropy(torch.tensor([[1.0, 0, 0, 0, 0, 0]]), torch.tensor([[3.0, 1, 2]]))
    one = math.log(2 * math.sqrt(2 * math.pi))
    assert logprobs.item() == pytest.approx(-0.5 - one - math.log(6), rel=1e-6)
    assert entropy.item() == pytest.approx(one + 0.5 + math.log(6), rel=1e-6)
    outputs = np.array([[1.0, 0, 1, 0, 0, 2]], np.float32)
    assert kind.mode(outputs).tolist() == [[1, 1, 2]]
    assert kind.sample(outputs, np.array([[1.5, 3, 0, 0, 4, 0]], np.float32)).tolist() == [[4, 0, 1]]


def test_settings_of_a_response_are_refused():
    with pytest.raises(ValueError, match="loss_aggregation sequence is for responses"):
        GymConfig(loss_aggregation="sequence")
    with pytest.raises(ValueError, match="bf16 is for language models"):
        GymConfig(bf16=True)


def test_images_are_seen_and_a_saved_agent_acts_as_the_policy_did(tmp_path):
    gym = {"env_id": f"{BROKEN_ENVS}:PixelGrid", "num_envs": 2, "rollout_length": 16, "total_steps": 64, "gif": False}
    config = build_config({"gym": gym | {"num_eval_episodes": 2, "frame_stack": 2}})
    with Run(tmp_path, "gym", config) as run:
        train_gym(config, run)
    agent = load_agent(tmp_path / "model")
    with Watchdog(60) as watchdog, VectorEnv(config.gym, 0, watchdog) as vector_env:
        vector_env.reset()
        assert vector_env.observations.shape == (2, 6, 16, 16)  # the channels of two frames
        state = State(vector_env, config.gym, 0, torch.device("cpu"), tmp_path)
        state.load(list_checkpoints(tmp_path)[0])
        wanted = state.policy.actor()(vector_env.observations, None, state.policy.initial_state(2))[0]
        first = vector_env.observations[0].reshape(2, 3, 16, 16).transpose(0, 2, 3, 1)
        assert agent(first) == wanted[0, 0]


def test_a_saved_agent_sees_normalised_observations_as_the_policy_did(tmp_path):
    gym = {"env_id": "Pendulum-v1", "num_envs": 2, "rollout_length": 16, "total_steps": 64, "num_eval_episodes": 1}
    config = build_config({"gym": gym | {"gif": False}})
    with Run(tmp_path, "gym", config) as run:
        train_gym(config, run)
    agent = load_agent(tmp_path / "model")
    with Watchdog(60) as watchdog, VectorEnv(config.gym, 0, watchdog) as vector_env:
        state = State(vector_env, config.gym, 0, torch.device("cpu"), tmp_path)
        state.load(list_checkpoints(tmp_path)[0])
        act, seen = state.policy.actor(), vector_env.observations
        normalised, plain = (
            vector_env.spaces.actions.to_env(act(each, None, state.policy.initial_state(2))[0])
            for each in (state.env_state.normalize(seen), seen)
        )
        assert agent(seen[0]) == pytest.approx(normalised[0])
        assert agent(seen[0]) != pytest.approx(plain[0], rel=1e-3)


def test_a_mixed_action_is_learned_and_a_saved_agent_takes_it(tmp_path):
    """Reward 1 for the right category, less the square of what the number is off, that depends on the observation."""
    gym = {
        "env_id": f"{BROKEN_ENVS}:MixedAction",
        "num_envs": 16,
        "rollout_length": 32,
        "num_mini_batches": 4,
        "total_steps": 8_192,
        "learning_rate": 3e-3,
        "gamma": 0.0,
        "log_std": -1.0,
        "gif": False,
    }
    config = build_config({"gym": gym | {"num_eval_episodes": 20}})
    with Run(tmp_path, "gym", config) as run:
        assert train_gym(config, run)["eval_mean"] > 0.8  # of 1; the best that looks at nothing has 0.25
    agent = load_agent(tmp_path / "model")
    for sign in (-1.0, 1.0):
        action = agent(np.array([sign], np.float32))
        assert action["kind"] == (1 if sign > 0 else 0)
        assert action["number"] == pytest.approx(2 * sign, abs=0.6)
