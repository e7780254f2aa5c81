"""Extreme inputs (log-ratios of 1e4, rewards of 1e6, nothing that counts) give finite losses and gradients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from likelier.control.distributions import Categorical, Gaussian
from likelier.finetune.dpo_loss import dpo_loss
from likelier.ppo.advantages import gae, group_normalised, leave_one_out, reinforce_pp
from likelier.ppo.kl import KLTerm, kl_estimate, kl_in_loss
from likelier.ppo.losses import aggregate_terms, entropy_from_logits, policy_loss, value_loss
from likelier.ppo.masks import masked_whiten
from likelier.reward.loss import preference_loss
from likelier.rlhf.measures import monte_carlo_explained_variance
from likelier.text.logprobs import compute_token_statistics

CASES, PART = 25_000, 5_000
"""Of the battery: cases of each of the four below, 100,000 in all; and how many of them make one test."""
AGGREGATES = ("token", "sequence", "fixed")


@dataclass
class Draw:
    """Random shapes and numbers of one case, most of them at an edge."""

    chance: np.random.Generator
    rows: int
    width: int

    @classmethod
    def of(cls, seed: int) -> "Draw":
        chance = np.random.default_rng(seed)
        return cls(chance, int(chance.integers(1, 5)), int(chance.choice([1, 1, 2, 6])))

    def numbers(self, largest: float, shape: tuple[int, ...] | None = None, learned: bool = False) -> Tensor:
        """All alike, each at an end or 0, anywhere between the ends, or ordinary."""
        shape = shape or (self.rows, self.width)
        kind = self.chance.integers(4)
        if kind == 0:
            found = np.full(shape, self.chance.choice([-largest, 0.0, 0.1, largest]))
        elif kind == 1:
            found = self.chance.choice([-largest, 0.0, largest], shape)
        elif kind == 2:
            found = self.chance.uniform(-largest, largest, shape)
        else:
            found = self.chance.normal(size=shape)
        return torch.tensor(found, dtype=torch.float32, requires_grad=learned)

    def mask(self) -> Tensor:
        """Nothing counts, everything, responses of any length from 0, or places here and there."""
        kind, shape = self.chance.integers(4), (self.rows, self.width)
        if kind < 2:
            return torch.full(shape, bool(kind))
        if kind == 2:
            lengths = self.chance.integers(0, self.width + 1, (self.rows, 1))
            return torch.from_numpy(np.arange(self.width) < lengths)
        return torch.from_numpy(self.chance.random(shape) < 0.5)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.chance.integers(len(choices)))]


def finite(name: str, seed: int, *tensors: Tensor) -> None:
    for tensor in tensors:
        assert torch.isfinite(tensor).all(), f"{name} of case {seed}: {tensor}"


def learn(name: str, seed: int, loss: Tensor, *learned: Tensor) -> None:
    """The loss and its gradient."""
    finite(name, seed, loss)
    finite(f"gradient of {name}", seed, *torch.autograd.grad(loss, learned))


def try_losses(seed: int) -> None:
    draw = Draw.of(seed)
    mask, clip = draw.mask(), draw.one_of(0.2, 1e-6, 3.0)
    logprobs, old, ref = draw.numbers(1e4, learned=True), draw.numbers(1e4), draw.numbers(1e4)
    aggregate, advantages = draw.one_of(*AGGREGATES), draw.numbers(1e6)
    bounds = (clip, draw.one_of(None, 0.3, 1e6), draw.one_of(None, 3.0))
    loss, stats = policy_loss(logprobs, old, advantages, mask, *bounds, aggregate)
    learn("policy_loss", seed, loss, logprobs)
    finite("stats of policy_loss", seed, *stats.values())
    values, old_values, returns = draw.numbers(1e6, learned=True), draw.numbers(1e6), draw.numbers(1e6)
    loss, stats = value_loss(values, old_values, returns, mask, draw.one_of(None, 0.2))
    learn("value_loss", seed, loss, values)
    finite("stats of value_loss", seed, *stats.values())
    kind, level = draw.one_of("k1", "k2", "k3"), draw.one_of("response", "token")
    term = kl_in_loss(logprobs, old, ref, mask, KLTerm(0.1, kind, level, draw.one_of(True, False)))
    learn("kl_in_loss", seed, aggregate_terms(term, mask, aggregate, None), logprobs)
    finite("kl_estimate", seed, kl_estimate(logprobs.detach(), ref, kind))


def try_advantages(seed: int) -> None:
    draw = Draw.of(seed)
    mask, rewards, values = draw.mask(), draw.numbers(1e6), draw.numbers(1e6)
    continues = torch.from_numpy(draw.chance.integers(0, 2, mask.shape)).float()
    gamma, lam = draw.one_of(1.0, 0.0, 0.99), draw.one_of(1.0, 0.0, 0.95)
    advantages, returns = gae(rewards, values, draw.numbers(1e6), continues, gamma, lam)
    finite("gae", seed, advantages, returns, masked_whiten(advantages, mask))
    finite("whitened rewards", seed, masked_whiten(rewards, mask, shift_mean=False))
    finite("reinforce_pp", seed, reinforce_pp(rewards, mask, gamma))
    finite("explained variance", seed, monte_carlo_explained_variance(values, rewards, mask, gamma))
    grouped = draw.numbers(1e6, (draw.rows, draw.one_of(2, 3, 8)))
    finite("group", seed, leave_one_out(grouped), group_normalised(grouped), group_normalised(grouped, std=False))


def try_pairs(seed: int) -> None:
    draw = Draw.of(seed)
    shape = (int(draw.chance.integers(0, 5)),)
    chosen, rejected = (draw.numbers(1e6, shape, learned=True) for _ in range(2))
    target = torch.tensor(draw.chance.choice([0.0, 0.5, 1.0, 0.8], shape), dtype=torch.float32)
    flip = torch.tensor(draw.chance.choice([0.0, 0.1, 0.5, 1.0], shape), dtype=torch.float32)
    loss = preference_loss(chosen, rejected, draw.numbers(1.0, shape).abs(), draw.numbers(10.0, shape), target, flip)
    learn("preference_loss", seed, loss, chosen, rejected)
    refs, beta = (draw.numbers(1e4, shape), draw.numbers(1e4, shape)), draw.one_of(0.1, 10.0)
    loss, stats = dpo_loss(chosen, rejected, *refs, beta, target)
    learn("dpo_loss", seed, loss, chosen, rejected)
    finite("stats of dpo_loss", seed, *stats.values())


def try_policies(seed: int) -> None:
    draw = Draw.of(seed)
    size = draw.one_of(1, 2, 7)
    logits = draw.numbers(1e4, (draw.rows, size), learned=True)
    answers = torch.from_numpy(draw.chance.choice([0, size - 1], draw.rows))  # both edges of the vocabulary
    logprobs, entropy = compute_token_statistics(logits, answers, draw.one_of(1.0, 0.1, 10.0))
    learn("statistics_of", seed, logprobs.sum() + entropy.sum(), logits)
    learn("entropy_from_logits", seed, entropy_from_logits(logits).sum(), logits)
    logprobs, entropy = Categorical(size).logprobs_and_entropy(logits, answers[:, None])
    learn("Categorical", seed, logprobs.sum() + entropy.sum(), logits)
    gaussian, outputs = Gaussian(size, 0.0, dependent=True), draw.numbers(1e3, (draw.rows, 2 * size), learned=True)
    logprobs, entropy = gaussian.logprobs_and_entropy(outputs, draw.numbers(1.0, (draw.rows, size)))
    learn("Gaussian", seed, logprobs.sum() + entropy.sum(), outputs)


TRIED = [try_losses, try_advantages, try_pairs, try_policies]


@pytest.mark.parametrize("tried", TRIED, ids=lambda tried: tried.__name__)
def test_a_few(tried: Any) -> None:
    for seed in range(100):
        tried(seed)


@pytest.mark.battery
@pytest.mark.parametrize("start", range(0, CASES, PART))
@pytest.mark.parametrize("tried", TRIED, ids=lambda tried: tried.__name__)
def test_many(tried: Any, start: int) -> None:
    for seed in range(start, start + PART):
        tried(seed)


def test_a_number_that_is_not_finite_is_found() -> None:
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(AssertionError, match="gradient of the root of case 7"):
        learn("the root", 7, x.sqrt().sum(), x)
