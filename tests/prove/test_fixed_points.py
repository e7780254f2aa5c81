"""Fixed points against hand-worked numbers, the conditions of a maximum, and exact expected updates."""

import math

import pytest
import torch

from likelier.prove.fixed_points import (
    Table,
    fixed_point,
    fixed_point_name,
    follow_expected_update,
    length_optimum,
    next_token_optimum,
    reversed_kl_optimum,
    small_group,
    spread_optimum,
)
from likelier.prove.matrix import describe_place, make_config, make_matrix
from likelier.prove.tabular_lm import TabularLM, kl_divergence, optimal_log_distribution

REACH = {
    ("ppo", "k1", "reward"), ("ppo", "k2", "loss"), ("ppo", "k1", "loss_ratio"), ("ppo", "k3", "loss_ratio"),
    ("rloo", "k1", "reward"), ("rloo", "k2", "loss"), ("rloo", "k1", "loss_ratio"), ("rloo", "k3", "loss_ratio"),
    ("dr_grpo", "k1", "reward"), ("dr_grpo", "k2", "loss"), ("dr_grpo", "k1", "loss_ratio"),
    ("dr_grpo", "k3", "loss_ratio"), ("grpo", "k1", "reward"), ("reinforce_pp", "k1", "reward"),
}  # fmt: skip


def random_table(vocabulary, length, end_token, seed, beta=0.5):
    generator = torch.Generator().manual_seed(seed)
    model = TabularLM(vocabulary, length, end_token=end_token)
    model.logits.data = torch.randn(model.logits.shape, generator=generator)
    return Table(model, torch.randn(len(model.responses), generator=generator), beta)


def make_two_answers(beta=1.0):
    """Answer 0 has probability 0.8 and reward 0, answer 1 probability 0.2 and reward log 2."""
    return Table(TabularLM(2, 1, torch.tensor([[0.8, 0.2]]).log()), torch.tensor([0.0, math.log(2)]), beta)


def test_fixed_point_of_each_row():
    matrix = make_matrix(make_two_answers())
    rows = [config for config in matrix if not small_group(config)]
    reaching = {(c.algorithm, c.kl_estimator, c.kl_place) for c in rows if fixed_point_name(c) == "optimum"}
    assert reaching == REACH
    named = {(c.algorithm, c.kl_estimator, describe_place(c)): fixed_point_name(c) for c in rows}
    assert named["ppo", "k2", "reward"] == named["rloo", "k3", "reward"] == "pushed down"
    assert named["ppo", "k1", "loss"] == named["grpo", "k1", "loss"] == "best response"
    assert named["ppo", "k3", "loss"] == "reversed"
    assert named["grpo", "k3", "loss"] == "spread reversed"
    assert named["rloo", "k2", "loss_sequence"] == "length optimum"
    assert named["grpo", "k2", "loss"] == named["reinforce_pp", "k3", "loss_ratio"] == "spread"
    assert [fixed_point_name(c) for c in rows if c.kl_level == "token"] == ["next token"] * 2
    assert named["ppo", "k1", "reward_sequence"] == named["grpo", "k1", "reward_sequence"] == "optimum"
    assert named["grpo", "k3", "loss_sequence"] == "length spread reversed"
    groups = [fixed_point_name(config) for config in matrix if small_group(config)]
    assert groups == ["optimum"] * 2 + ["group spread"] * 2 + ["group spread reversed"] * 2


def test_the_optimum_by_hand():
    # 0.8 : 0.2 * 2 = 2 : 1
    assert make_two_answers().optimum.exp().tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-7)


def test_the_reversed_penalty_by_hand():
    # p = ref / (lambda - r); with r = (0, 1) and ref = (1/2, 1/2) that is lambda = (2 + sqrt 2) / 2
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    policy = reversed_kl_optimum(half.log(), torch.tensor([0.0, 1.0], dtype=torch.float64), 1.0).exp()
    high = (2 + math.sqrt(2)) / 2
    assert policy.tolist() == pytest.approx([0.5 / high, 0.5 / (high - 1)], abs=1e-9)


def test_the_best_response_takes_all():
    policy = fixed_point(make_two_answers(), make_config(make_two_answers(), "ppo", "k1", "loss"))
    assert policy.exp().tolist() == [0.0, 1.0]


def test_spread_and_policy_are_solved_jointly():
    table = random_table(3, 3, None, 0, beta=1.5)
    config = make_config(table, "grpo", "k2", "loss")
    rewards = table.rewards.double()
    policy = spread_optimum(lambda price: optimal_log_distribution(table.ref, rewards, price), table, config)
    mean = (policy.exp() * rewards).sum()
    spread = (policy.exp() * (rewards - mean).square()).sum().sqrt()
    assert spread > 0.1
    again = optimal_log_distribution(table.ref, rewards, 1.5 * (float(spread) + 1e-4))
    assert kl_divergence(again, policy) < 1e-9


def test_spread_collapses_at_a_low_kl_coef():
    table = random_table(3, 3, None, 0, beta=0.1)
    policy = fixed_point(table, make_config(table, "grpo", "k2", "loss"))
    assert policy.exp().max() > 0.999
    assert policy.argmax() == table.rewards.argmax()


def test_length_optimum_pays_for_each_token():
    # answers of one and of two tokens: (r - beta L - E[r]) / |y| is level, so r - beta L rises by c with each token
    table = random_table(3, 2, 0, 0)
    policy, lengths = length_optimum(table), table.reference.masks.sum(1)
    kl, mean_length = kl_divergence(policy, table.ref), float((policy.exp() * lengths).sum())
    left = (table.rewards - 0.5 * (policy - table.ref) - (policy.exp() * table.rewards).sum()) / lengths
    assert left.tolist() == pytest.approx([-0.5 * kl / mean_length] * len(left), abs=1e-9)
    assert kl_divergence(policy, table.optimum) > 1e-3


def test_next_token_optimum_by_hand():
    # two tokens: the first leads to 0 or to rewards (0, 2); ref uniform, beta 1
    model = TabularLM(2, 2, end_token=0)  # responses 0, 1 0, 1 1
    table = Table(model, torch.tensor([0.0, 0.0, 2.0]), 1.0)
    last = math.exp(2) / (1 + math.exp(2))
    first = math.exp(2 * last) / (1 + math.exp(2 * last))  # Q of token 1 is the mean reward behind it, 2 * last
    expected = [1 - first, first * (1 - last), first * last]
    assert next_token_optimum(table).exp().tolist() == pytest.approx(expected, abs=1e-6)
    soft = (1 + math.exp(2)) / 2  # the optimum weighs by the mean of exp(r) instead
    assert table.optimum.exp()[0].item() == pytest.approx(1 / (1 + soft), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "estimator", "place", "how"),
    [
        ("ppo", "k1", "reward", ()),
        ("ppo", "k2", "loss", ()),
        ("ppo", "k3", "loss", ()),
        ("ppo", "k2", "loss", ("token",)),
        ("grpo", "k2", "loss", ()),
        ("reinforce_pp", "k3", "loss", ()),
        ("ppo", "k1", "reward", ("response", "sequence")),
        ("rloo", "k2", "loss", ("response", "sequence")),
    ],
)
def test_following_the_expected_update_leads_to_the_closed_forms(algorithm, estimator, place, how):
    table = random_table(3, 2, 0, 1, beta=1.5)
    config = make_config(table, algorithm, estimator, place, *how)
    assert kl_divergence(fixed_point(table, config), follow_expected_update(table, config)) < 1e-3


@pytest.mark.slow
def test_k2_in_the_reward_ends_where_reward_minus_penalty_is_level():
    """Where nothing can be gained, reward minus penalty is the same for every token that was not pushed down."""
    generator = torch.Generator().manual_seed(0)
    model = TabularLM(6, 1, torch.randn(1, 6, generator=generator))
    table = Table(model, torch.randn(6, generator=generator), 0.5)
    policy = follow_expected_update(table, make_config(table, "ppo", "k2", "reward"), steps=800)
    alive = policy > math.log(1e-2)
    level = table.rewards.double() - 0.5 * (policy - table.ref).square() / 2
    assert 1 < alive.sum() < 6
    assert level[alive].max() - level[alive].min() < 0.01
    assert (policy[alive] > table.ref[alive]).sum() >= alive.sum() - 1


@pytest.mark.slow
def test_squares_end_where_their_own_gradient_vanishes():
    """Of E[r] - beta E[L^2 / 2] the derivative by p is r - beta (L^2 / 2 + L), level over all that p still does."""
    generator = torch.Generator().manual_seed(3)
    model = TabularLM(5, 1, torch.randn(1, 5, generator=generator) / 2)
    table = Table(model, torch.randn(5, generator=generator) / 2, 0.5)
    policy = follow_expected_update(table, make_config(table, "ppo", "k2", "loss_ratio"), steps=800)
    log_ratio = policy - table.ref
    alive = policy > math.log(1e-2)
    slope = table.rewards.double() - 0.5 * (log_ratio.square() / 2 + log_ratio)
    assert slope[alive].max() - slope[alive].min() < 0.01
