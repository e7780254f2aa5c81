"""Scores to rewards to advantages, against numbers worked out by hand."""

import pytest
import torch

from likelier.config import PPOConfig
from likelier.rlhf.rollout import advantages_of, group_advantages, place_scores, shuffled_groups

MASK = torch.tensor([[True, True, False], [True, True, True]])


def ppo(**settings):
    return PPOConfig(**{"whiten_advantages": False, "batch_size": 4, **settings})


def test_score_stands_on_the_last_token():
    penalties = torch.tensor([[-0.1, -0.2, 0.0], [-0.3, -0.4, -0.5]])
    placed = place_scores(penalties, torch.tensor([1.0, 2.0]), MASK)
    torch.testing.assert_close(placed, torch.tensor([[-0.1, 0.8, 0.0], [-0.3, -0.4, 1.5]]))


def test_advantages_end_at_the_last_token_and_bootstrap_nothing():
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    values = torch.tensor([[0.5, 0.25, 9.0], [1.0, 1.0, 1.0]])  # 9.0 is padding and must not matter
    values = values * MASK
    advantages, returns = advantages_of(rewards, values, MASK, torch.zeros(2, dtype=torch.long), ppo(lam=1.0))
    torch.testing.assert_close(advantages, torch.tensor([[0.5, 0.75, 0.0], [1.0, 1.0, 1.0]]))
    torch.testing.assert_close(returns * MASK, torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]))


def test_lambda_zero_is_the_one_step_error():
    rewards = torch.tensor([[0.0, 1.0]])
    values = torch.tensor([[0.5, 0.25]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    advantages, _ = advantages_of(rewards, values, mask, torch.zeros(1, dtype=torch.long), ppo(lam=0.0))
    torch.testing.assert_close(advantages, torch.tensor([[-0.25, 0.75]]))


def test_leave_one_out_within_shuffled_groups():
    rewards, group = torch.tensor([1.0, 10.0, 3.0, 20.0]), torch.tensor([0, 1, 0, 1])
    config = ppo(algorithm="rloo", responses_per_prompt=2)
    assert group_advantages(rewards, group, config).tolist() == [-2.0, -10.0, 2.0, 10.0]


def test_group_normalised_by_hand():
    rewards, group = torch.tensor([1.0, 5.0, 3.0, 5.0]), torch.tensor([0, 1, 0, 1])
    config = ppo(algorithm="grpo", responses_per_prompt=2)
    found = group_advantages(rewards, group, config)
    assert found.tolist() == pytest.approx([-1 / (2**0.5 + 1e-4), 0.0, 1 / (2**0.5 + 1e-4), 0.0])


def test_without_a_critic_every_token_has_the_advantage_of_its_response():
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    config = ppo(algorithm="rloo", responses_per_prompt=2)
    advantages, returns = advantages_of(rewards, None, MASK, torch.tensor([0, 0]), config)
    assert advantages.tolist() == [[-2.0, -2.0, 0.0], [2.0, 2.0, 2.0]]
    assert returns is None


def test_every_prompt_has_its_responses_in_random_order():
    group = shuffled_groups(50, 3, torch.Generator().manual_seed(0))
    assert torch.bincount(group).tolist() == [3] * 50
    assert group.tolist() != sorted(group.tolist())
