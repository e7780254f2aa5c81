"""Expected advantages in groups of a few responses: by hand, against drawn groups, and where they lead."""

import math

import pytest
import torch

from likelier.ppo.advantages import group_normalised
from likelier.prove.fixed_points import Table, expected_loss, fixed_point, fixed_point_name, group_optimum
from likelier.prove.groups import draw_groups, group_advantages, list_groups
from likelier.prove.matrix import make_config
from likelier.prove.tabular_lm import TabularLM, kl_divergence, optimal_log_distribution, sample_batch
from likelier.training.setup import seeded_generator

PAIR = 0.5 / (math.sqrt(0.5) + 1e-4)
"""Advantage of the better of two responses with rewards 0 and 1: (1 - 1/2) / (std + eps)."""


def nine_responses(seed=2, beta=0.5):
    generator = torch.Generator().manual_seed(seed)
    model = TabularLM(3, 2)
    model.logits.data = torch.randn(model.logits.shape, generator=generator)
    return Table(model, torch.randn(9, generator=generator), beta)


def test_pairs_by_hand():
    """The better one gains where the other is the worse one, and nothing where both are alike."""
    policy = torch.tensor([0.8, 0.2], dtype=torch.float64).log()
    advantages = group_advantages(torch.tensor([0.0, 1.0]), 2)(policy)
    assert advantages.tolist() == pytest.approx([-0.2 * PAIR, 0.8 * PAIR], abs=1e-12)


def test_three_by_hand():
    """Others 00, 01 or 10, 11 with probabilities 0.64, 0.32, 0.04; deviations 0, 1/3 and 2/3 over sqrt(1/3)."""
    policy = torch.tensor([0.8, 0.2], dtype=torch.float64).log()
    std = math.sqrt(1 / 3) + 1e-4
    better = (0.64 * 2 / 3 + 0.32 * 1 / 3) / std
    worse = (0.32 * -1 / 3 + 0.04 * -2 / 3) / std
    assert group_advantages(torch.tensor([0.0, 1.0]), 3)(policy).tolist() == pytest.approx([worse, better], abs=1e-12)


def test_a_response_that_is_never_sampled_has_an_advantage_too():
    policy = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    assert group_advantages(torch.tensor([0.0, 1.0]), 2)(policy)[1].item() == pytest.approx(PAIR)


@pytest.mark.parametrize("size", [2, 4])
def test_listed_groups_agree_with_drawn_ones_and_with_training(size):
    table = nine_responses()
    rewards = table.rewards.double()
    exact = list_groups(rewards, size)(table.ref)
    assert float((table.ref.exp() * exact).sum()) == pytest.approx(0, abs=1e-12)
    assert (draw_groups(rewards, size)(table.ref) - exact).abs().max() < 0.05
    config = make_config(table, "grpo", "k2", "loss", group=size).model_copy(update={"batch_size": 40_000})
    batch = sample_batch(table.reference, table.reference, table.rewards, config, seeded_generator(0, 0, "test"))
    rows = table.reference.rows(batch.actions)
    for row in range(9):
        assert float(batch.advantages[rows == row][:, 0].mean()) == pytest.approx(float(exact[row]), abs=0.05)


def test_two_answers_in_pairs_end_where_it_is_worked_out():
    """The advantages of the two differ by 0.707 whatever the policy: odds 1 : 4 times exp(0.707 / beta)."""
    table = Table(TabularLM(2, 1, torch.tensor([[0.8, 0.2]]).log()), torch.tensor([0.0, 1.0]), 0.5)
    policy = fixed_point(table, make_config(table, "grpo", "k2", "loss", group=2))
    odds = 0.25 * math.exp(PAIR / 0.5)
    assert policy.exp().tolist() == pytest.approx([1 / (1 + odds), odds / (1 + odds)], abs=1e-3)


def test_small_groups_do_not_end_at_the_best_response():
    """prove said of GRPO that it ends there, which holds for one group of all responses."""
    table = nine_responses()
    best, shares, kls = int(table.rewards.argmax()), [], []
    for size in (4, 8, None):
        config = make_config(table, "grpo", "k2", "loss", group=size)
        assert fixed_point_name(config) == ("group spread" if size else "spread")
        policy = fixed_point(table, config)
        shares.append(float(policy.exp()[best]))
        kls.append(kl_divergence(policy, table.optimum))
    assert shares == pytest.approx([0.674, 0.909, 1.0], abs=2e-3)
    assert kls == pytest.approx([0.058, 0.290, 0.552], abs=2e-3)


def test_at_its_end_the_expected_update_rests():
    table = nine_responses()
    for estimator in ("k2", "k3"):
        config = make_config(table, "grpo", estimator, "loss", group=4)
        end = fixed_point(table, config)
        probabilities = end.exp().view(3, 3)
        policy = TabularLM(3, 2, critic=False).double()
        policy.logits.data[0] = probabilities.sum(1).log()
        policy.logits.data[1:] = probabilities.log()
        assert policy.log_distribution().tolist() == pytest.approx(end.tolist(), abs=1e-9)
        expected_loss(policy, table.reference.copy(critic=False).double(), table.rewards.double(), config).backward()
        assert policy.logits.grad.abs().max() < 1e-3


def test_the_penalty_in_the_reward_ends_at_the_optimum_in_any_group():
    config = make_config(nine_responses(), "grpo", "k1", "reward", group=4)
    assert fixed_point_name(config) == "optimum"
    assert group_normalised(torch.zeros(1, 4)).abs().max() == 0


def test_one_iteration_by_hand():
    table = Table(TabularLM(2, 1, torch.tensor([[0.5, 0.5]]).log()), torch.tensor([0.0, 1.0]), 1.0)
    config = make_config(table, "grpo", "k2", "loss", group=2)
    policy = group_optimum(lambda gains: optimal_log_distribution(table.ref, gains, 1.0), table, config)
    assert float(policy[1] - policy[0]) == pytest.approx(PAIR, abs=1e-3)
