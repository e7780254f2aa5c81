"""Advantages against numbers worked out by hand and against a slow, obvious reference."""

import pytest
import torch

from likelier.config import PPOConfig
from likelier.ppo.advantages import (
    AdvantageInputs,
    compute_advantages,
    gae,
    group_normalised,
    leave_one_out,
    reinforce_pp,
)

MASK = torch.tensor([[True, True, False], [True, True, True]])


def row(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_termination_by_hand():
    # gamma 0.9, lambda 0.8; deltas: 1 + 0.9 * 0.4 - 0.5 = 0.86, 2 - 0.4 = 1.6
    advantages, returns = gae(row(1, 2), row(0.5, 0.4), row(0.4, 0), row(1, 0), 0.9, 0.8)
    close(advantages, row(0.86 + 0.72 * 1.6, 1.6))
    close(returns, row(0.86 + 0.72 * 1.6 + 0.5, 2.0))


def test_truncation_bootstraps_from_the_final_state():
    advantages, _ = gae(row(1, 2), row(0.5, 0.4), row(0.4, 3.0), row(1, 0), 0.9, 0.8)
    close(advantages, row(0.86 + 0.72 * 4.3, 4.3))  # 2 + 0.9 * 3 - 0.4


def test_truncation_gives_the_closed_form_of_an_endless_reward():
    # reward 1 for ever and gamma 0.9: the value is 1 / (1 - 0.9) = 10 wherever it is cut
    ones, tens = torch.ones(1, 5, dtype=torch.float64), torch.full((1, 5), 10.0, dtype=torch.float64)
    advantages, returns = gae(ones, tens, tens, row(1, 1, 1, 1, 0), 0.9, 0.95)
    close(advantages, torch.zeros_like(ones))
    close(returns, tens)


def test_several_episodes_in_one_row_do_not_mix():
    both, _ = gae(row(1, 2, 3, 4), row(0, 0, 0, 0), row(0, 0, 0, 0), row(1, 0, 1, 0), 1.0, 1.0)
    close(both, row(3, 2, 7, 4))


def test_padding_holds_zeros_and_stays_zero():
    short, _ = gae(row(1, 2), row(0.5, 0.4), row(0.4, 0), row(1, 0), 0.9, 0.8)
    padded, _ = gae(row(1, 2, 0, 0), row(0.5, 0.4, 0, 0), row(0.4, 0, 0, 0), row(1, 0, 0, 0), 0.9, 0.8)
    close(padded[:, :2], short)
    close(padded[:, 2:], torch.zeros(1, 2, dtype=torch.float64))


def test_against_a_slow_sum_of_discounted_errors():
    draw = torch.Generator().manual_seed(0)
    rewards, values, next_values = (torch.randn(3, 7, generator=draw, dtype=torch.float64) for _ in range(3))
    continues = (torch.rand(3, 7, generator=draw) > 0.3).double()
    advantages, returns = gae(rewards, values, next_values, continues, 0.97, 0.9)
    for b in range(3):
        for t in range(7):
            total, factor = 0.0, 1.0
            for s in range(t, 7):
                total += factor * (rewards[b, s] + 0.97 * next_values[b, s] - values[b, s])
                factor *= 0.97 * 0.9 * continues[b, s]
            assert advantages[b, t].item() == pytest.approx(total.item(), abs=1e-12)
            assert returns[b, t].item() == pytest.approx((total + values[b, t]).item(), abs=1e-12)


def test_leave_one_out_by_hand():
    scores = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)
    close(leave_one_out(scores), torch.tensor([[-3.0, -1.5, 4.5]], dtype=torch.float64))


def test_group_normalised_by_hand():
    scores = torch.tensor([[1.0, 3.0], [0.1, 0.1]], dtype=torch.float64)
    spread = 2**0.5 + 1e-4
    close(group_normalised(scores), torch.tensor([[-1 / spread, 1 / spread], [0.0, 0.0]], dtype=torch.float64))
    close(group_normalised(scores, std=False), torch.tensor([[-1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("baseline", [leave_one_out, group_normalised, lambda s: group_normalised(s, std=False)])
@pytest.mark.parametrize(("score", "count"), [(0.1, 3), (0.1, 7), (-7.7, 9), (1e6 / 3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_of_equal_scores_gives_exactly_zero(baseline, score, count, dtype):
    # the mean of seven 0.1 is not 0.1 in fp32, and whitening would make a signal of the difference
    assert baseline(torch.full((1, count), score, dtype=dtype)).tolist() == [[0.0] * count]


def test_no_steps_have_no_advantages():
    empty = torch.zeros(2, 0)
    assert gae(empty, empty, empty, empty, 1.0, 0.95)[0].shape == (2, 0)
    assert reinforce_pp(empty, empty.bool()).shape == (2, 0)


@pytest.mark.parametrize("baseline", [leave_one_out, group_normalised])
def test_a_single_response_has_no_others(baseline):
    with pytest.raises(ValueError, match="at least 2 responses to each prompt, got 1"):
        baseline(torch.tensor([[1.0]]))


def test_reinforce_pp_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 50.0]], dtype=torch.float64)
    found = reinforce_pp(rewards, torch.tensor([[True, True, False]]), gamma=0.5)
    close(found, torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64))  # to go: 2 and 2, no spread
    found = reinforce_pp(rewards, torch.tensor([[True, True, False]]))  # to go: 3 and 2
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64), atol=1e-6, rtol=0)


def ppo(**settings):
    return PPOConfig(**{"whiten_advantages": False, "batch_size": 4, **settings})


def advantages_by(config, rewards, values=None, prompts=None, mask=None):
    """Of rows that all answer one prompt, unless `prompts` are given; the mask covers all but the last of row 0."""
    mask = torch.ones_like(rewards, dtype=torch.bool) if prompts is not None else MASK if mask is None else mask
    prompts = torch.zeros(len(rewards), dtype=torch.long) if prompts is None else prompts
    return compute_advantages(AdvantageInputs(rewards, mask, prompts, values, config))


def test_advantages_end_at_the_last_token_and_bootstrap_nothing():
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    values = torch.tensor([[0.5, 0.25, 9.0], [1.0, 1.0, 1.0]])  # 9.0 is padding and must not matter
    values = values * MASK
    advantages, returns = advantages_by(ppo(lam=1.0), rewards, values)
    torch.testing.assert_close(advantages, torch.tensor([[0.5, 0.75, 0.0], [1.0, 1.0, 1.0]]))
    torch.testing.assert_close(returns * MASK, torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]))


def test_lambda_zero_is_the_one_step_error():
    rewards = torch.tensor([[0.0, 1.0]])
    values = torch.tensor([[0.5, 0.25]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    advantages, _ = advantages_by(ppo(lam=0.0), rewards, values, mask=mask)
    torch.testing.assert_close(advantages, torch.tensor([[-0.25, 0.75]]))


def test_lambda_by_length_and_another_one_for_the_critic():
    """VAPO: 1 - 1 / (alpha length), here 0 in two tokens, 1/3 in three; VC-PPO: the critic learns all that follows."""
    rewards = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    values = torch.tensor([[0.5, 0.4, 0], [0, 0, 0]], dtype=torch.float64)
    ppo = PPOConfig(lam_by_length=0.5, critic_lam=1.0, whiten_advantages=False)
    advantages, returns = compute_advantages(AdvantageInputs(rewards, MASK, torch.arange(2), values, ppo))
    expected = torch.tensor([[-0.1, 0.6, 0], [1 / 9, 1 / 3, 1]], dtype=torch.float64)
    torch.testing.assert_close(advantages, expected, atol=1e-7, rtol=0)
    close(returns, torch.tensor([[1, 1, 0], [1, 1, 1]], dtype=torch.float64))
    short = PPOConfig(lam_by_length=0.1, lam=0.0, whiten_advantages=False)  # 1 - 5 is no lambda: 0
    advantages, returns = compute_advantages(AdvantageInputs(rewards, MASK, torch.arange(2), values, short))
    close(advantages, torch.tensor([[-0.1, 0.6, 0], [0, 0, 1]], dtype=torch.float64))
    close(returns, advantages + values)


def test_leave_one_out_within_shuffled_groups():
    rewards, prompts = torch.tensor([[1.0], [10.0], [3.0], [20.0]]), torch.tensor([0, 1, 0, 1])
    config = ppo(algorithm="rloo", responses_per_prompt=2)
    assert advantages_by(config, rewards, None, prompts)[0][:, 0].tolist() == [-2.0, -10.0, 2.0, 10.0]


def test_grpo_normalises_within_shuffled_groups():
    rewards, prompts = torch.tensor([[1.0], [5.0], [3.0], [5.0]]), torch.tensor([0, 1, 0, 1])
    config = ppo(algorithm="grpo", responses_per_prompt=2)
    found = advantages_by(config, rewards, None, prompts)[0][:, 0]
    assert found.tolist() == pytest.approx([-1 / (2**0.5 + 1e-4), 0.0, 1 / (2**0.5 + 1e-4), 0.0])


def test_dr_grpo_is_only_centred():
    rewards, prompts = torch.tensor([[1.0], [5.0], [3.0], [5.0]]), torch.tensor([0, 1, 0, 1])
    config = PPOConfig(algorithm="dr_grpo", responses_per_prompt=2)
    assert (config.loss_aggregation, config.whiten_advantages) == ("fixed", False)
    assert advantages_by(config, rewards, None, prompts)[0][:, 0].tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_reinforce_pp_whitens_what_follows_each_token():
    rewards = torch.tensor([[0.0, 3.0, 0.0], [1.0, 0.0, 1.0]])  # to go: 3 3 | 2 1 1; mean 2, variance 0.8
    config = PPOConfig(algorithm="reinforce_pp")
    advantages, returns = advantages_by(config, rewards)
    expected = torch.tensor([[1.0, 1.0, 0.0], [0.0, -1.0, -1.0]]) / 0.8**0.5
    torch.testing.assert_close(advantages, expected)
    assert returns is None


def test_without_a_critic_every_token_has_the_advantage_of_its_response():
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    config = ppo(algorithm="rloo", responses_per_prompt=2)
    advantages, returns = advantages_by(config, rewards)
    assert advantages.tolist() == [[-2.0, -2.0, 0.0], [2.0, 2.0, 2.0]]
    assert returns is None


def test_actions_follow_each_other_across_what_was_only_read():
    gap = torch.tensor([[True, False, False, True, False], [True, True, False, False, False]])
    rewards = torch.tensor([[0.0, 9, 9, 1, 9], [0, 1, 9, 9, 9]], dtype=torch.float64)
    values = torch.tensor([[0.5, 9, 9, 0.25, 9], [0.5, 0.25, 9, 9, 9]], dtype=torch.float64)
    rewards, values = rewards * gap, values * gap
    config = PPOConfig(gamma=1.0, lam=0.5, whiten_advantages=False)
    advantages, returns = compute_advantages(AdvantageInputs(rewards, gap, torch.tensor([0, 1]), values, config))
    # Errors: 0.25 - 0.5 = -0.25, then 1 - 0.25 = 0.75; the first advantage is -0.25 + 0.5 * 0.75.
    close(advantages, torch.tensor([[0.125, 0, 0, 0.75, 0], [0.125, 0.75, 0, 0, 0]], dtype=torch.float64))
    close(returns, torch.tensor([[0.625, 0, 0, 1, 0], [0.625, 1, 0, 0, 0]], dtype=torch.float64))
