"""The interface of policies for PPO: log-probabilities, values and entropy of given actions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.distributed import all_gather_rows, shard
from likelier.ppo.batch import Rows, minibatches


class Evaluation(NamedTuple):
    """A policy's outputs for given actions, each `[B, T]`, 0 outside the mask; `values` is None without a critic."""

    logprobs: Float[Tensor, "B T"]
    values: Float[Tensor, "B T"] | None
    entropy: Float[Tensor, "B T"]

    def keep(self, mask: Bool[Tensor, "B T"]) -> "Evaluation":
        """Return the outputs inside `mask`, 0 elsewhere."""
        values = None if self.values is None else torch.where(mask, self.values, 0.0)
        return Evaluation(torch.where(mask, self.logprobs, 0.0), values, torch.where(mask, self.entropy, 0.0))

    def detach(self) -> "Evaluation":
        """Return the same tensors without graph."""
        values = None if self.values is None else self.values.detach()
        # Stats must not keep the graph of a minibatch alive: it holds the activations of every layer.
        return Evaluation(self.logprobs.detach(), values, self.entropy.detach())


@runtime_checkable
class Policy(Protocol):
    """A policy to train. Dropout must be off, so that the ratio is 1 before the first step."""

    def evaluate(self, inputs: Mapping[str, Any], actions: Tensor, mask: Tensor) -> Evaluation:
        """Compute log-probabilities of `actions` `[B, T]`, entropies and values, with graph; 0 outside `mask`."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over all trained parameters, the critic's included."""
        ...


Critic = Callable[[Mapping[str, Any], Tensor, Tensor], Float[Tensor, "B T"]]
"""The values alone, with graph, of the arguments of `Policy.evaluate`."""


@runtime_checkable
class SeparablePolicy(Policy, Protocol):
    """A policy whose critic may share no trained weight with it."""

    def split_critic(self) -> tuple[Policy, Critic] | None:
        """Return the policy without its critic, and the critic; None if a trained weight is in both, or no critic."""
        ...


@torch.no_grad()
def evaluate_old_policy(
    policy: Policy,
    inputs: Mapping[str, Tensor | Rows],
    actions: Tensor,
    mask: Bool[Tensor, "B T"],
    config: UpdateConfig,
) -> Evaluation:
    """Evaluate the policy before the update, by the same forward passes as in the first epoch.

    The last bits of a matrix product depend on the number of rows. With the same split into minibatches, processes and
    micro-batches the ratio before the first step is exactly 1, so any other value reveals a bug.
    """
    evaluations = []
    for minibatch in minibatches(len(mask), config.num_mini_batches, None):
        outputs = []  # the very micro-batches of accumulate_gradients
        for rows in minibatch[shard(len(minibatch))].split(config.micro_batch_size or len(minibatch)):
            selected = {name: tensor[rows] for name, tensor in inputs.items()}
            outputs.append(policy.evaluate(selected, actions[rows], mask[rows]))
        evaluations.append(gather_outputs(concat_evaluations(outputs), len(minibatch)))
    return concat_evaluations(evaluations)


def concat_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """Concatenate the outputs of several parts of a batch."""
    if len(parts) == 1:
        return parts[0]
    values = [evaluation.values for evaluation in parts if evaluation.values is not None]
    return Evaluation(
        torch.cat([evaluation.logprobs for evaluation in parts]),
        torch.cat(values) if values else None,
        torch.cat([evaluation.entropy for evaluation in parts]),
    )


def gather_outputs(outputs: Evaluation, num_rows: int) -> Evaluation:
    """Gather the outputs for all rows of a minibatch from the shards of all processes."""
    values = None if outputs.values is None else all_gather_rows(outputs.values, num_rows)
    return Evaluation(all_gather_rows(outputs.logprobs, num_rows), values, all_gather_rows(outputs.entropy, num_rows))
