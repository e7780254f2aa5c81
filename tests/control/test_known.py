"""Settings that come with the package are valid, and laid under what the user says."""

from pathlib import Path

import pytest
from gymnasium.spaces import Discrete

from likelier.config import GymConfig, build_config
from likelier.control.envs import make_env
from likelier.control.known import known_environments, known_settings, mdp_settings


def test_these_environments_are_known() -> None:
    assert known_environments() == [
        "Acrobot-v1",
        "BipedalWalker-v3",
        "CartPole-v1",
        "CliffWalking-v1",
        "CliffWalkingSlippery-v1",
        "FrozenLake-v1",
        "FrozenLake8x8-v1",
        "HalfCheetah-v5",
        "Hopper-v5",
        "LunarLander-v3",
        "LunarLanderContinuous-v3",
        "MountainCar-v0",
        "MountainCarContinuous-v0",
        "Pendulum-v1",
        "Taxi-v4",
        "Walker2d-v5",
    ]


@pytest.mark.parametrize("env_id", known_environments())
def test_settings_of_a_known_environment_are_valid(env_id: str) -> None:
    gym = build_config({"gym": known_settings(env_id)}).gym
    assert gym.env_id == env_id
    assert gym.total_steps >= gym.num_envs * gym.rollout_length


def test_an_environment_that_is_not_known_brings_its_id_only() -> None:
    assert known_settings("Blackjack-v1") == {"env_id": "Blackjack-v1"}
    assert known_settings("") == {"env_id": ""}


def test_an_mdp_file_is_an_environment_with_its_own_discount():
    path = Path(__file__).parents[2] / "configs" / "mdp" / "three-states.yaml"
    assert mdp_settings(path) == {"env_id": str(path), "gamma": 0.9}
    env = make_env(GymConfig(env_id=str(path)))
    assert (env.observation_space, env.action_space) == (Discrete(3), Discrete(2))
