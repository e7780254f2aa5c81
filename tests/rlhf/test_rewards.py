"""Rewards per token, against numbers worked out by hand."""

import torch

from likelier.config import PPOConfig
from likelier.rlhf.rewards import add_at_last_token, compute_kl_penalties, split_scores

MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_score_stands_on_the_last_token():
    rewards = torch.tensor([[-0.1, -0.2, 0.0], [-0.3, -0.4, -0.5]])
    placed = add_at_last_token(rewards, torch.tensor([1.0, 2.0]), MASK)
    torch.testing.assert_close(placed, torch.tensor([[-0.1, 0.8, 0.0], [-0.3, -0.4, 1.5]]))


def test_token_rewards_stand_at_their_tokens_and_the_rest_at_the_last():
    token_scores = torch.tensor([[1.0, -2.0], [0.5, 0.0]])  # one column fewer than the mask: no response was longer
    scores = torch.tensor([10.0, 0.0])  # shaped: whatever it is, both parts add up to it
    by_token, remainder = split_scores(token_scores, 2.0, scores, MASK)
    torch.testing.assert_close(by_token, torch.tensor([[2.0, -4.0, 0.0], [1.0, 0.0, 0.0]]))
    assert remainder.tolist() == [12.0, -1.0]
    placed = add_at_last_token(by_token, remainder, MASK)
    torch.testing.assert_close(placed, torch.tensor([[2.0, 8.0, 0.0], [1.0, 0.0, -1.0]]))
    assert placed.sum(1).tolist() == scores.tolist()
    assert split_scores(None, 2.0, scores, MASK)[1] is scores


def test_penalties_are_in_the_reward_or_nowhere():
    logprobs, ref = torch.tensor([[-1.0, -1.0, 9.0]]), torch.tensor([[-2.0, -0.5, 1.0]])
    found = compute_kl_penalties(logprobs, ref, MASK[:1], 0.1, PPOConfig(kl_estimator="k2"))
    torch.testing.assert_close(found, torch.tensor([[0.05, 0.0125, 0.0]]))
    assert compute_kl_penalties(logprobs, ref, MASK[:1], 0.1, PPOConfig(kl_place="loss")).tolist() == [[0.0, 0.0, 0.0]]


def test_the_score_stands_at_the_last_token_of_the_policy():
    mask = torch.tensor(
        [[True, False, True, False], [True, True, False, False]]
    )  # a tool answered in between, and last
    rewards = add_at_last_token(torch.zeros(2, 4), torch.tensor([5.0, 6.0]), mask)
    assert rewards.tolist() == [[0, 0, 5, 0], [0, 6, 0, 0]]
