"""PPO on a table reaches the exact optimum with the functions that train language models."""

from pathlib import Path

import numpy as np
import pytest
import torch

from likelier.mdp.exact import TabularMDP
from likelier.mdp.file import read_mdp
from likelier.mdp.learners import Episodes, sample_episodes
from likelier.mdp.ppo import CONFIG, TablePolicy, make_batch, tabular_ppo
from likelier.ppo.policy import Policy
from likelier.ppo.update import ppo_update
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"


@pytest.mark.parametrize(("name", "batches", "tolerance"), [("three-states", 40, 0.005), ("chain", 60, 0.1)])
def test_the_optimum_is_reached(name, batches, tolerance):
    mdp = read_mdp(CONFIGS / f"{name}.yaml").mdp
    first, *_, final = tabular_ppo(mdp, batches)
    best = mdp.optimal_values()
    assert (best - mdp.policy_values(first)).max() > 20 * tolerance
    assert (best - mdp.policy_values(final)).max() < tolerance


def test_a_batch_by_hand():
    """Two episodes: one goes 0 -> 1 -> end, the other is truncated. Values 10 and 20, gamma 0.5, lambda 1."""
    mdp = TabularMDP([[[0.5, 0.5]], [[0, 0]]], [[1.0], [2.0]], 0.5)
    policy = TablePolicy(2, 1)
    policy.values.data = torch.tensor([10.0, 20.0])
    samples = Episodes(
        states=np.array([[0, 1], [0, 0]]),
        actions=np.array([[0, 0], [0, 0]]),
        rewards=np.array([[1.0, 2.0], [1.0, 1.0]]),
        next_states=np.array([[1, 2], [0, 1]]),
        active=np.array([[1, 1], [1, 1]]),
    )
    config = CONFIG.model_copy(update={"lam": 1.0, "num_mini_batches": 2})
    batch = make_batch(mdp, policy, samples, config, torch.Generator().manual_seed(0))
    # 1 + 0.5 * 2 = 2 and 2 for the first; 1 + 0.5 (1 + 0.5 * 20) = 6.5 and 1 + 0.5 * 20 = 11 for the second
    returns = sorted(zip(batch.inputs["state"][:, 0].tolist(), batch.returns[:, 0].tolist(), strict=True))
    assert returns == [(0, 2.0), (0, 6.5), (0, 11.0), (1, 2.0)]
    assert float(batch.advantages.mean()) == pytest.approx(0, abs=1e-6)


def test_places_after_an_end_are_left_out_and_the_first_ratio_is_1():
    mdp = read_mdp(CONFIGS / "three-states.yaml").mdp
    policy = TablePolicy(3, 2)
    assert isinstance(policy, Policy)
    samples = sample_episodes(mdp, policy.probabilities(), 50, 10, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    batch = make_batch(mdp, policy, samples, CONFIG, generator)
    assert len(batch) == samples.active.sum() < samples.active.size
    stats = ppo_update(policy, make_optimizer([(policy.parameters(), 0.1)], CONFIG), batch, CONFIG, generator, Guard(1))
    assert stats["first_ratio_deviation"] == 0.0
