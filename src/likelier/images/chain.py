"""Samplers of several Gaussian steps as policies: each step is an action (Black et al. 2023, "DDPO").

From noise x_0 a chain draws x_{t+1} = m(x_t, t) + s_t z_t for t < T, and makes a picture of x_T without any noise. What
has noise has a log-probability, summed over the numbers of x; the last step has none and is left out. It stays that of
the start for every policy: pictures are then one function of the steps, and their KL is at most that of the steps.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likelier.ppo.policy import Evaluation


@runtime_checkable
class Chain(Protocol):
    """A sampler of `len(deviations)` Gaussian steps of `size` numbers."""

    size: int
    deviations: Tensor
    """Standard deviation s_t of each step, [T]."""

    def means(self, states: Float[Tensor, "N D"], steps: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Return m(x_t, t), with graph."""
        ...

    def finish(self, states: Float[Tensor, "N D"]) -> Float[Tensor, "N P"]:
        """Return the pictures of x_T, from -1 to 1."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over all weights."""
        ...


class Trajectories(NamedTuple):
    """Steps of a chain, and the pictures that they end in."""

    states: Float[Tensor, "B T D"]
    """Before each step."""
    actions: Float[Tensor, "B T D"]
    """After it."""
    pictures: Float[Tensor, "B P"]


@torch.no_grad()
def sample_trajectories(policy: Chain, start: Chain, num: int, generator: torch.Generator) -> Trajectories:
    """Draw pictures from a policy; the last step, without noise, is that of `start`."""
    steps = len(policy.deviations)
    noise = torch.randn(num, steps + 1, policy.size, generator=generator)
    states = [noise[:, 0]]
    for step, deviation in enumerate(policy.deviations):
        means = policy.means(states[-1], torch.full((num,), step))
        states.append(means + deviation * noise[:, step + 1])
    path = torch.stack(states, 1)
    return Trajectories(path[:, :-1], path[:, 1:], start.finish(path[:, -1]))


class ChainPolicy:
    """A chain as a policy of PPO; the step is the place in a row."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation:
        """Compute log-probabilities `[B, T]`, summed over the numbers of an action; the entropy is a constant."""
        deviations = self.chain.deviations  # [T]
        off = (actions - path_means(self.chain, inputs["states"])) / deviations[:, None]
        constant = self.chain.size * (deviations.log() + 0.5 * math.log(2 * math.pi))
        logprobs = -0.5 * off.square().sum(-1) - constant
        entropy = (constant + 0.5 * self.chain.size).expand(logprobs.shape)
        return Evaluation(logprobs, None, entropy).keep(mask)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the chain's weights."""
        return self.chain.parameters()


def path_means(chain: Chain, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    """Return the mean of each step of each row."""
    rows, steps, size = states.shape
    return chain.means(states.reshape(-1, size), torch.arange(steps).repeat(rows)).view(rows, steps, size)


@torch.no_grad()
def path_kl(policy: Chain, start: Chain, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:
    """KL of each step from the start's in nats, given the state: |m - m_start|^2 / (2 s_t^2).

    Summed over a row and averaged over rows that the policy drew it is the KL of its steps, which the KL of its
    pictures cannot exceed: they are a function of the steps.
    """
    apart = path_means(policy, states) - path_means(start, states)
    return apart.square().sum(-1) / (2 * policy.deviations.square())
