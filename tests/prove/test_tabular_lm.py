"""PPO and RLOO reach pi* ∝ pi_ref exp(r / beta) on a tabular language model."""

import math

import pytest
import torch

from likelier.config import PPOConfig
from likelier.prove.tabular_lm import (
    TabularLM,
    all_responses,
    kl_divergence,
    optimal_log_distribution,
    sample_batch,
    train_tabular,
)

BETA = 0.5


def random_task(seed):
    generator = torch.Generator().manual_seed(seed)
    reference = TabularLM(6, 3)
    reference.logits.data = torch.randn(reference.logits.shape, generator=generator)
    return reference, torch.randn(6**3, generator=generator)


def test_prefixes_are_numbered_without_gaps():
    model = TabularLM(2, 3)
    assert model.states(torch.tensor([[0, 0, 0], [1, 0, 1], [1, 1, 0]])).tolist() == [[0, 1, 3], [0, 2, 5], [0, 2, 6]]
    assert len(model.logits) == 7


def test_the_distribution_sums_to_one_and_kl_is_exact():
    reference, _ = random_task(0)
    log = reference.log_distribution()
    assert float(log.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    assert kl_divergence(p, q) == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.battery) for seed in (1, 2))])
def test_the_known_optimum_is_reached(algorithm, seed):
    reference, rewards = random_task(seed)
    own = {"vf_coef": 1.0, "cliprange_value": None} if algorithm == "ppo" else {"responses_per_prompt": 2048}
    config = PPOConfig(
        algorithm=algorithm,
        kl_coef=BETA,
        batch_size=2048,
        total_episodes=2048 * 200,
        num_ppo_epochs=2,
        num_mini_batches=1,
        learning_rate=0.15,
        adam_eps=1e-8,
        max_grad_norm=100.0,
        whiten_advantages=False,
        **own,
    )
    policy, deviations = train_tabular(reference, rewards, config, seed)
    best = optimal_log_distribution(reference.log_distribution(), rewards, BETA)
    assert kl_divergence(reference.log_distribution(), best) > 0.3  # the start is far away
    assert kl_divergence(policy.log_distribution(), best) <= 0.001
    assert set(deviations) == {0.0}


def test_responses_end_at_the_end_token_or_at_the_limit():
    assert all_responses(2, 2, end_token=0).tolist() == [[0, 0], [1, 0], [1, 1]]
    model = TabularLM(3, 3, end_token=1)
    assert len(model.responses) == 1 + 2 + 4 + 8  # ended after one, two, three tokens, or cut at three
    actions = torch.tensor([[1, 2, 0], [0, 1, 2], [2, 2, 2]])
    assert model.mask(actions).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert model.responses[model.rows(actions)].tolist() == [[1, 1, 1], [0, 1, 1], [2, 2, 2]]
    assert float(model.log_distribution().exp().sum()) == pytest.approx(1.0, abs=1e-6)


def test_kl_of_impossible_responses_is_zero():
    p, q = torch.tensor([0.0, 1.0]).log(), torch.tensor([0.5, 0.5]).log()
    assert kl_divergence(p, q) == pytest.approx(math.log(2), abs=1e-6)


def test_sampled_batch_is_that_of_a_rollout():
    reference = TabularLM(3, 2, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), end_token=0)
    policy = reference.copy()
    policy.logits.data += 0.3 * torch.arange(3)
    rewards = torch.arange(7.0)
    config = PPOConfig(batch_size=8, num_mini_batches=1, kl_coef=BETA, whiten_advantages=False, lam=1.0)
    batch = sample_batch(policy, reference, rewards, config, torch.Generator().manual_seed(0))
    paid = BETA * ((batch.old_logprobs - batch.ref_logprobs) * batch.mask).sum(1)
    torch.testing.assert_close(batch.returns[:, 0], rewards[policy.rows(batch.actions)] - paid)
    assert not batch.mask.all()
    assert (batch.old_logprobs[~batch.mask] == 0).all()
