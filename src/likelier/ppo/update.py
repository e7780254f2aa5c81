"""One PPO update: epochs of minibatches of micro-batches over a batch of experience."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.distributed import (
    all_reduce_gradients,
    all_reduce_sum,
    compute_norm,
    get_world_size,
    is_sharded,
    local_part,
    shard,
)
from likelier.ppo.batch import Batch, minibatches, order_by_length
from likelier.ppo.losses import (
    Stats,
    default_normalizer,
    explained_variance,
    policy_stats,
    policy_terms,
    value_terms,
)
from likelier.ppo.masks import masked_mean
from likelier.ppo.objective import LossContext, Objective, PPOLoss, compute_value_loss
from likelier.ppo.policy import Critic, Evaluation, Policy, SeparablePolicy, concat_evaluations, gather_outputs


@runtime_checkable
class Optimizer(Protocol):
    """The part of `torch.optim.Optimizer` that an update uses."""

    @property
    def state(self) -> Mapping[Any, Any]:
        """Buffers by parameter; empty before the first step."""
        ...

    def step(self) -> Any:
        """Update the parameters from their gradients."""
        ...


@runtime_checkable
class SkipCounter(Protocol):
    """Counts updates skipped because of non-finite numbers; `skip` may stop the run."""

    def accept(self) -> None:
        """Record an update without non-finite numbers."""
        ...

    def skip(self, reason: str, batch: Mapping[str, Tensor], numbers: Mapping[str, Tensor]) -> None:
        """Record a skipped update, with the batch and the tensors that explain it."""
        ...


class MinibatchResult(NamedTuple):
    """Rows, outputs and losses of one minibatch, from which the stats of an update are computed."""

    rows: Int[Tensor, " N"]
    outputs: Evaluation
    """Of the policy before this minibatch's step, without graph."""
    losses: Stats
    """The losses, `approx_kl`, and the norm of the gradient."""


def ppo_update(
    policy: Policy,
    optimizer: Optimizer,
    batch: Batch,
    config: UpdateConfig,
    generator: torch.Generator,
    guard: SkipCounter,
    objective: Objective = PPOLoss(),  # noqa: B008 - frozen
    used: list[MinibatchResult] | None = None,
) -> dict[str, float]:
    """Train on a batch for `num_ppo_epochs`; returns statistics averaged over minibatches, and counts.

    Skips minibatches with a non-finite loss, gradient, KL or optimizer state. Stops before the optimizer step once
    approx_kl > 1.5 * target_kl. The results of all minibatches that were not skipped are added to `used`.
    """
    parameters, max_state = list(policy.parameters()), largest_state(optimizer)
    used = [] if used is None else used
    skipped: list[MinibatchResult] = []
    num_steps = 0
    for rows in epoch_minibatches(len(batch), config, generator, batch.lengths):
        clear_gradients(parameters)
        # Indexing would copy the batch; where it is its own only minibatch nothing need be copied.
        minibatch = batch if len(rows) == len(batch) else batch.rows(rows)
        outputs, losses = accumulate_gradients(policy, minibatch, config, objective)
        all_reduce_gradients(parameters)
        losses["grad_norm"] = clip_gradients(parameters, config.max_grad_norm)
        result = MinibatchResult(rows, outputs, losses)
        # One sum looks at all: NaN and inf survive additions. One synchronisation with the device instead of four.
        if not torch.isfinite(losses["loss"] + losses["approx_kl"] + losses["grad_norm"] + max_state):
            skipped.append(result)
            reason = "the loss, its gradient or the optimizer was not finite in"
            guard.skip(reason, minibatch.tensors(), average_stats([result], batch, config, objective.clips))
            continue
        used.append(result)
        # Schulman's early stopping, with the 1.5 of OpenAI's Spinning Up; the step that was too far is not taken.
        if config.target_kl is not None and losses["approx_kl"] > 1.5 * config.target_kl:
            break
        optimizer.step()
        guard.accept()
        num_steps += 1
    clear_gradients(parameters)  # as many bytes as weights, which sampling can use
    # If nothing was finite, the stats of what was skipped say why.
    stats = average_stats(used or skipped, batch, config, objective.clips)
    counts = {"optimizer_steps": float(num_steps), "skipped_updates": float(len(skipped))}
    return counts | dict(zip(stats, torch.stack(list(stats.values())).tolist(), strict=True))


def clear_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Have no gradients, rather than zeros: a parameter without gradient must not be decayed as if it had one."""
    for parameter in parameters:
        parameter.grad = None


def epoch_minibatches(
    num_rows: int, config: UpdateConfig, generator: torch.Generator, lengths: Int[Tensor, " B"] | None = None
) -> Iterator[Int[Tensor, " N"]]:
    """Yield the rows of each minibatch of each epoch, by length if micro-batches cut them.

    The first epoch keeps the order of rows in which the old log-probabilities were computed (the rollout has shuffled
    them); later epochs shuffle. A minibatch of the whole batch is not shuffled, since that changes nothing.
    """
    first = minibatches(num_rows, config.num_mini_batches, None)
    yield from first
    # Several epochs on one batch are what the clipped ratio allows (Schulman et al. 2017, algorithm 1).
    for _ in range(config.num_ppo_epochs - 1):
        drawn = first if len(first) == 1 else minibatches(num_rows, config.num_mini_batches, generator)
        yield from (order_by_length(rows, lengths, config.micro_batch_size) for rows in drawn)


def accumulate_gradients(
    policy: Policy,
    batch: Batch,
    config: UpdateConfig,
    objective: Objective = PPOLoss(),  # noqa: B008 - frozen
) -> tuple[Evaluation, Stats]:
    """Accumulate one minibatch's gradients over its micro-batches; returns the policy's outputs and the losses.

    Every micro-batch divides by the normalizers of the whole minibatch, so that gradients and losses are sums over the
    micro-batches, however it is split: a mean of means would weigh tokens by the length of their micro-batch. With
    several processes the gradients are those of this process's rows.
    """
    tokens, how = default_normalizer(batch.mask, "token"), config.loss_aggregation
    # Normalizers are of the whole minibatch, before it is divided among processes and micro-batches.
    parts = take_shard(batch).cut(config.micro_batch_size)
    normalizer = tokens if how == "token" else default_normalizer(batch.mask, how)
    context = LossContext(config, normalizer, tokens, len(parts) == get_world_size() == 1)
    outputs, losses = zip(
        *(backward_micro_batch(policy, micro_batch, objective, context) for micro_batch in parts), strict=True
    )
    return gather_outputs(concat_evaluations(outputs), len(batch)), sum_losses(losses)


def take_shard(batch: Batch) -> Batch:
    """Return this process's shard of a minibatch."""
    return batch if get_world_size() == 1 else batch.rows(torch.arange(len(batch))[shard(len(batch))])


def backward_micro_batch(
    policy: Policy, batch: Batch, objective: Objective, context: LossContext
) -> tuple[Evaluation, Stats]:
    """Backpropagate one micro-batch; returns the policy's detached outputs and losses.

    Outputs are detached, since an entropy that is only logged would otherwise keep the graph's activations alive.
    """
    if isinstance(policy, SeparablePolicy) and (parts := policy.split_critic()) is not None:
        return backward_apart(*parts, batch, objective, context)
    outputs = policy.evaluate(batch.inputs, batch.actions, batch.mask)
    losses = objective.backward(outputs, batch, context)
    return outputs.detach(), losses


def backward_apart(
    policy: Policy, critic: Critic, batch: Batch, objective: Objective, context: LossContext
) -> tuple[Evaluation, Stats]:
    """Backpropagate a policy, and then a critic that shares no trained weight with it: their losses only add up.

    So the activations of one of them at a time are in memory; the policy's, with the logits, before there are gradients
    of the critic.
    """
    outputs = policy.evaluate(batch.inputs, batch.actions, batch.mask)
    losses = objective.backward(outputs, batch, context)
    outputs = outputs.detach()  # frees the policy's graph
    values = critic(batch.inputs, batch.actions, batch.mask)
    value_loss = compute_value_loss(values, batch, context)
    weighted = context.config.vf_coef * value_loss
    weighted.backward()
    losses |= {"value_loss": value_loss.detach(), "loss": losses["loss"] + weighted.detach()}
    return outputs._replace(values=values.detach()), losses


def sum_losses(losses: Sequence[Stats]) -> Stats:
    """Sum the losses of a minibatch over all micro-batches and processes."""
    if len(losses) == 1 and get_world_size() == 1:
        return losses[0]
    sums = all_reduce_sum(torch.stack([torch.stack(list(part_losses.values())) for part_losses in losses]).sum(0))
    return dict(zip(losses[0], sums, strict=True))


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Scale the gradients to a global norm of at most `limit`; returns the norm before clipping.

    Like torch.nn.utils.clip_grad_norm_ without its 1e-6, and twice as fast on a small network, since it does not group
    parameters by device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if any(is_sharded(gradient) for gradient in gradients):
        norm = compute_norm(gradients)
        gradients = [local_part(gradient) for gradient in gradients]
        torch._foreach_div_(gradients, (norm / limit).clamp(min=1.0))
        return norm
    # One norm over all parameters, policy and critic together (Huang et al. 2022, detail 11).
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_div_(gradients, (total / limit).clamp(min=1.0))
    return total


def largest_state(optimizer: Optimizer) -> Tensor | float:
    """Return the largest absolute number in the optimizer's state, to detect non-finite ones.

    If the state is sharded, the sum of the largest of each process: no less, and not finite if one is not.
    """
    values = (value for state in optimizer.state.values() for value in state.values())
    # A step count has no axes; moments in 8 bits have finite scales.
    moments = [value for value in values if isinstance(value, Tensor) and value.dim() and value.is_floating_point()]
    if not moments:
        return 0.0
    if not any(is_sharded(moment) for moment in moments):
        return torch.stack(torch._foreach_norm(moments, math.inf)).max()
    parts = [part for part in map(local_part, moments) if part.numel()]
    largest = (
        torch.stack(torch._foreach_norm(parts, math.inf)).max() if parts else torch.zeros((), device=moments[0].device)
    )
    return all_reduce_sum(largest)


def average_stats(results: Sequence[MinibatchResult], batch: Batch, config: UpdateConfig, clips: bool) -> Stats:
    """Average losses and norms over minibatches, other stats over tokens; `clipfrac` is NaN unless the loss `clips`.

    Computed once for all minibatches: on small ones the stats would cost more than the gradient.
    """
    columns = {name: torch.stack([result.losses[name] for result in results]) for name in results[0].losses}
    stats = {name: column.mean() for name, column in columns.items()}
    stats["grad_clipped"] = (columns["grad_norm"] > config.max_grad_norm).float().mean()

    new = concat_evaluations([result.outputs for result in results])
    trained_rows = replace(batch, inputs={}).rows(torch.cat([result.rows for result in results]))
    bounds = config.cliprange, config.clip_high, config.dual_clip
    terms = policy_terms(new.logprobs, trained_rows.old_logprobs, trained_rows.advantages, trained_rows.mask, *bounds)
    stats |= policy_stats(terms, trained_rows.mask) | {"entropy": masked_mean(new.entropy, trained_rows.mask)}
    if not clips:
        stats["clipfrac"] = torch.full_like(stats["clipfrac"], math.nan)
    # Before the first step both passes are the same function of the same weights: anything but 0 is a bug.
    deviation = (terms.ratio - 1).abs()
    stats |= {"ratio_deviation": deviation.max(), "first_ratio_deviation": deviation[: len(results[0].rows)].max()}
    if new.values is not None and trained_rows.old_values is not None and trained_rows.returns is not None:
        values = value_terms(
            new.values, trained_rows.old_values, trained_rows.returns, trained_rows.mask, config.cliprange_value
        )
        stats["value_clipfrac"] = masked_mean(values.is_clipped.to(new.values), trained_rows.mask)
        stats["explained_variance"] = explained_variance(
            trained_rows.old_values, trained_rows.returns, trained_rows.mask
        )
    return stats
