"""Rollouts: an episode that was cut is worth what the critic says of its last state, one that ended nothing."""

from pathlib import Path

import pytest
import torch

from likelier.config import build_config
from likelier.control.envs import VectorEnv
from likelier.control.rollout import sample_rollout
from likelier.control.train import State
from likelier.control.watchdog import Watchdog
from likelier.ppo.update import ppo_update
from likelier.training.setup import Clock, seeded_generator

BROKEN_ENVS = str(Path(__file__).parents[1] / "broken_envs.py")


def config(name, **gym):
    small = {
        "env_id": f"{BROKEN_ENVS}:{name}",
        "num_envs": 2,
        "rollout_length": 16,
        "num_mini_batches": 1,
        "total_steps": 64,
    }
    small |= {"normalize_observations": False, "normalize_rewards": False, "whiten_advantages": False}
    return build_config({"gym": small | {"gamma": 0.9, "lam": 0.0} | gym}).gym


def rollouts(gym, num, update=False):
    with Watchdog(60) as watchdog, VectorEnv(gym, 0, watchdog) as vector_env:
        state = State(vector_env, gym, 0, torch.device("cpu"), Path())
        state.load(None)
        batches = []
        for step in range(num):
            draw = seeded_generator(0, step, "gym")
            batches.append(sample_rollout(state.policy, state.env_state, gym, draw, Clock()))
            if update:
                ppo_update(state.policy, state.optimizer, batches[-1], gym, draw, state.guard)
    return batches


def test_every_step_of_an_episode_that_was_cut_is_worth_its_reward_and_what_follows():
    """All states look alike, so V is one number v, and each return of lambda 0 is 1 + gamma v, the last one's too."""
    (batch,) = rollouts(config("OneForever", max_episode_steps=5), 1)
    value = batch.old_values[0].item()
    assert value != 0.0 or batch.old_values.unique().numel() == 1
    torch.testing.assert_close(batch.returns, torch.full_like(batch.returns, 1 + 0.9 * value))


def test_after_an_episode_that_ended_nothing_follows():
    """Sound ends after 5 steps: 3 of 16 steps of each copy are worth their reward alone, whatever the critic says."""
    (batch,) = rollouts(config("Sound"), 1)
    alone = (batch.returns - batch.returns.round()).abs() < 1e-6
    assert int(alone.sum()) == 2 * 3


@pytest.mark.slow
def test_the_value_of_one_forever_is_the_closed_form():
    """1 / (1 - gamma), although every episode is cut after 5 steps."""
    gym = config("OneForever", max_episode_steps=5, lam=0.95, learning_rate=0.03, num_ppo_epochs=10, gamma=0.8)
    assert rollouts(gym, 40, update=True)[-1].old_values.mean().item() == pytest.approx(5.0, abs=0.1)


def test_rows_are_steps_in_random_order_and_whiten():
    (batch,) = rollouts(config("Sound", whiten_advantages=True), 1)
    assert batch.mask.shape == (32, 1)
    assert batch.advantages.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert batch.advantages.std(unbiased=False).item() == pytest.approx(1.0, abs=1e-3)
