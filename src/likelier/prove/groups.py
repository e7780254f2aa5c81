"""Advantages in groups of a few responses, as GRPO computes them: their expectation, response by response.

A group's standard deviation is that of its few members, so E[(r - mean) / std] is not (r - E[r]) / std of all: the
advantages of `G` responses are at most (G - 1) / sqrt(G), however alike the policy's responses have become.
"""

from collections.abc import Callable
from itertools import chain, combinations_with_replacement
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likelier.ppo.advantages import group_normalised

MAX_MULTISETS = 400_000
"""Groups of different content that are listed; where there are more, groups are drawn."""
NUM_DRAWS = 5_000
"""Groups drawn. An advantage varies by about 1, so that the standard error of its expectation is 0.014."""
GROUP_EPS = 1e-4
"""What `group_normalised` adds to the standard deviation."""
SMALLEST = 1e-300
"""What a probability of 0 counts as: a response that is never sampled has an advantage too."""

ExpectedAdvantages = Callable[[Float[Tensor, " R"]], Float[Tensor, " R"]]
"""Log-probabilities of all responses -> the expected advantage of each, when it is one of a group."""


def group_advantages(rewards: Float[Tensor, " R"], size: int) -> ExpectedAdvantages:
    """Return the function from a policy to its expected advantages in groups of `size`.

    Exact, by listing all groups, if there are at most `MAX_MULTISETS`; otherwise a mean over `NUM_DRAWS` groups, drawn
    with the same numbers for each policy.
    """
    if comb(size + len(rewards) - 1, size) <= MAX_MULTISETS:
        return list_groups(rewards.double(), size)
    return draw_groups(rewards.double(), size)


def list_groups(rewards: Float[Tensor, " R"], size: int) -> ExpectedAdvantages:
    """Weigh each multiset of responses by its multinomial probability.

    A response y is a given member with probability p(y), so that E[A | y is a member] is
    sum over groups of P(group) * (sum of the advantages of its members that are y) / (size * p(y)).
    """
    num = len(rewards)
    listed = chain.from_iterable(combinations_with_replacement(range(num), size))
    members = torch.from_numpy(np.fromiter(listed, np.int64).reshape(-1, size))
    shape = len(members), num
    counts = torch.zeros(shape, dtype=torch.float64).scatter_add_(1, members, torch.ones(members.shape).double())
    advantages = torch.zeros(shape, dtype=torch.float64).scatter_add_(1, members, group_normalised(rewards[members]))
    log_orders = torch.lgamma(torch.tensor(size + 1.0).double()) - torch.lgamma(counts + 1).sum(1)

    def expect(policy: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
        logprobs = policy.double().exp().clamp_min(SMALLEST).log()
        return (log_orders + counts @ logprobs).exp() @ advantages / size / logprobs.exp()

    return expect


def draw_groups(rewards: Float[Tensor, " R"], size: int) -> ExpectedAdvantages:
    """Draw the other members of a group by inverse transform, from numbers that stay the same."""
    uniform = torch.rand(NUM_DRAWS, size - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def expect(policy: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
        drawn = torch.searchsorted(policy.double().exp().cumsum(0), uniform).clamp_max(len(rewards) - 1)
        others = rewards[drawn]
        sums, squares = (each.sum(1) for each in (others, others.square()))  # [N]; of a whole group [R, N]
        means = (sums + rewards[:, None]) / size
        variances = (squares + rewards[:, None].square() - size * means.square()) / (size - 1)
        return ((rewards[:, None] - means) / (variances.clamp_min(0).sqrt() + GROUP_EPS)).mean(1)

    return expect
