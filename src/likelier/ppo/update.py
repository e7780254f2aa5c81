"""One PPO update: epochs of minibatches of micro-batches over a batch of experience."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.distributed import all_gather_rows, all_reduce_gradients, all_reduce_sum, get_world_size, shard
from likelier.ppo.batch import Batch, minibatches
from likelier.ppo.kl import KLTerm, kl_in_loss
from likelier.ppo.losses import (
    PolicyTerms,
    Stats,
    ValueTerms,
    aggregated,
    default_normalizer,
    explained_variance,
    mean_of_terms,
    policy_stats,
    policy_terms,
    value_terms,
)
from likelier.ppo.masks import masked_mean


class Evaluation(NamedTuple):
    """What a policy says of given actions, each `[B, T]`, 0 outside the mask; `values` is None without a critic."""

    logprobs: Float[Tensor, "B T"]
    values: Float[Tensor, "B T"] | None
    entropy: Float[Tensor, "B T"]


@runtime_checkable
class Policy(Protocol):
    """All that an update asks of a policy. Dropout is off."""

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class Optimizer(Protocol):
    """All that an update asks of an optimizer."""

    @property
    def state(self) -> Mapping[Any, Any]: ...

    def step(self) -> Any: ...


@runtime_checkable
class SkipCounter(Protocol):
    """Counts updates skipped for a number that was not finite; `skip` may stop the run."""

    def ok(self) -> None: ...
    def skip(self, reason: str, batch: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None: ...


@torch.no_grad()
def old_evaluation(
    policy: Policy, inputs: Mapping[str, Tensor], actions: Tensor, mask: Bool[Tensor, "B T"], config: UpdateConfig
) -> Evaluation:
    """Log-probabilities, values and entropy of the policy as it is, in exactly the cuts of the update's first epoch.

    A matrix product depends in its last bit on how many rows it has; with the same cuts the first ratio is exactly 1.
    """
    whole = []
    for minibatch in minibatches(len(mask), config.num_mini_batches, None):
        said = []
        for rows in minibatch[shard(len(minibatch))].split(config.micro_batch_size or len(minibatch)):
            selected = {name: tensor[rows] for name, tensor in inputs.items()}
            said.append(policy.evaluate(selected, actions[rows], mask[rows]))
        whole.append(gather_outputs(concat_evaluations(said), len(minibatch)))
    return concat_evaluations(whole)


def ppo_update(
    policy: Policy,
    optimizer: Optimizer,
    batch: Batch,
    config: UpdateConfig,
    generator: torch.Generator,
    guard: SkipCounter,
    kl: KLTerm | None = None,
) -> dict[str, float]:
    """Train on a batch for `num_ppo_epochs`; returns means over minibatches, and counts. `kl`: a penalty in the loss.

    The first epoch takes rows as they come (whoever built the batch shuffled them), later ones shuffle. A minibatch
    whose loss, gradient or KL is not finite is passed over, as is any that meets such an optimizer state. One that
    finds the policy too far from the one that sampled (approx_kl above 1.5 * target_kl) ends the update: the step it
    would have made is not taken.
    """
    parameters, remembered = list(policy.parameters()), largest_state(optimizer)
    counted: list[MinibatchResult] = []
    passed_over: list[MinibatchResult] = []
    steps = 0
    for rows in passes(len(batch), config, generator):
        for parameter in parameters:
            parameter.grad = None
        minibatch = batch if len(rows) == len(batch) else batch.rows(rows)
        new, found = accumulate_gradients(policy, minibatch, config, kl)
        all_reduce_gradients(parameters)
        norm = clip_gradients(parameters, config.max_grad_norm)
        learned = MinibatchResult(rows, new, found | {"grad_norm": norm})
        if not torch.isfinite(found["loss"] + found["approx_kl"] + norm + remembered):
            passed_over.append(learned)
            what = "the loss, its gradient or the optimizer was not finite in"
            guard.skip(what, minibatch.tensors(), stats_of([learned], batch, config))
            continue
        counted.append(learned)
        if config.target_kl is not None and found["approx_kl"] > 1.5 * config.target_kl:
            break
        optimizer.step()
        guard.ok()
        steps += 1
    counts = {"optimizer_steps": float(steps), "skipped_updates": float(len(passed_over))}
    stats = stats_of(counted or passed_over, batch, config)
    return counts | dict(zip(stats, torch.stack(list(stats.values())).tolist(), strict=True))


class MinibatchResult(NamedTuple):
    """What one minibatch brought."""

    rows: Int[Tensor, " N"]
    new: Evaluation
    """What the policy said of them, without graph."""
    found: Stats
    """The losses, approx_kl and the norm of the gradient."""


def passes(num_rows: int, config: UpdateConfig, generator: torch.Generator) -> Iterator[Int[Tensor, " N"]]:
    """Rows of each minibatch of each epoch. A minibatch that is the whole batch takes them in their own order."""
    first = minibatches(num_rows, config.num_mini_batches, None)
    yield from first
    for _ in range(config.num_ppo_epochs - 1):
        yield from first if len(first) == 1 else minibatches(num_rows, config.num_mini_batches, generator)


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Scale the gradients down to a global norm of `limit` where it is above; returns the norm that they had.

    As torch.nn.utils.clip_grad_norm_ but for its 1e-6, in half of the time on a small network: nothing is sorted.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_div_(gradients, (norm / limit).clamp(min=1.0))
    return norm


def largest_state(optimizer: Optimizer) -> Tensor | float:
    """The largest number that the optimizer remembers: a single one that is not finite would reach the weights."""
    states = (kept for state in optimizer.state.values() for kept in state.values())
    held = [kept for kept in states if isinstance(kept, Tensor) and kept.dim()]  # a step count has no axes
    return torch.stack(torch._foreach_norm(held, math.inf)).max() if held else 0.0


def accumulate_gradients(
    policy: Policy, batch: Batch, config: UpdateConfig, kl: KLTerm | None = None
) -> tuple[Evaluation, Stats]:
    """Gradients of one minibatch, micro-batch by micro-batch; returns what the policy said, and the losses.

    Every micro-batch divides by the normalizers of the whole minibatch, so that cutting it changes nothing: gradients
    and losses of the whole are the sums of those of its parts. Where several processes share a minibatch, the
    gradients are those of this one's rows.
    """
    tokens = default_normalizer(batch.mask, "token")
    how = config.loss_aggregation
    whole = LossContext(config, kl, tokens if how == "token" else default_normalizer(batch.mask, how), tokens)
    parts = own_rows(batch).cut(config.micro_batch_size)
    said, found = zip(*(backward_micro_batch(policy, part, whole) for part in parts), strict=True)
    return gather_outputs(concat_evaluations(said), len(batch)), total(found)


def own_rows(batch: Batch) -> Batch:
    """This process's share of a minibatch."""
    return batch if get_world_size() == 1 else batch.rows(torch.arange(len(batch))[shard(len(batch))])


class LossContext(NamedTuple):
    """What is the same for all micro-batches of a minibatch."""

    config: UpdateConfig
    kl: KLTerm | None
    normalizer: Float[Tensor, ""]
    """What the policy's terms are divided by."""
    tokens: Float[Tensor, ""]
    """What the critic's term and the entropy are divided by."""


def backward_micro_batch(policy: Policy, batch: Batch, whole: LossContext) -> tuple[Evaluation, Stats]:
    """Add the gradients of one micro-batch to the parameters'; returns what the policy said, and losses, without graph.

    The graph must end here: an entropy that is only looked at never goes backward, and would keep its activations.
    """
    new = policy.evaluate(batch.inputs, batch.actions, batch.mask)
    found, derivatives = losses_of(new, batch, whole)
    torch.autograd.backward([x for x, _ in derivatives], [derivative for _, derivative in derivatives])
    values = None if new.values is None else new.values.detach()
    return Evaluation(new.logprobs.detach(), values, new.entropy.detach()), found


def losses_of(new: Evaluation, batch: Batch, whole: LossContext) -> tuple[Stats, list[tuple[Tensor, Tensor]]]:
    """Policy loss + kl.coef * KL penalty + vf_coef * value loss - entropy_coef * entropy.

    Also what the loss depends on, each with the derivative of the loss by it: there the backward pass starts.
    """
    config, kl, normalizer, tokens = whole
    terms = policy_terms_of(new, batch, config)
    loss, by_logprobs = mean_of_terms(terms, batch.mask, config.loss_aggregation, normalizer)
    derivatives = [(new.logprobs, by_logprobs)]
    found = {"policy_loss": loss, "approx_kl": (terms.ratio - 1 - terms.log_ratio).sum() / tokens}
    if kl is not None:
        assert batch.ref_logprobs is not None, "a KL penalty in the loss needs log-probabilities of the reference"
        term = kl_in_loss(new.logprobs, batch.old_logprobs, batch.ref_logprobs, batch.mask, kl)
        penalty = aggregated(term, batch.mask, config.loss_aggregation, normalizer)
        derivatives.append((penalty, torch.full_like(penalty, kl.coef)))
        found["kl_loss"] = penalty.detach()
        loss = loss + kl.coef * found["kl_loss"]
    if new.values is not None:
        found["value_loss"], by_values = mean_of_terms(value_terms_of(new, batch, config), batch.mask, "token", tokens)
        derivatives.append((new.values, config.vf_coef * by_values))
        loss = torch.add(loss, found["value_loss"], alpha=config.vf_coef)
    if config.entropy_coef:
        entropy = aggregated(new.entropy, batch.mask, "token", tokens)
        derivatives.append((entropy, torch.full_like(entropy, -config.entropy_coef)))
        loss = loss - config.entropy_coef * entropy.detach()
    return found | {"loss": loss}, derivatives


def policy_terms_of(new: Evaluation, batch: Batch, config: UpdateConfig) -> PolicyTerms:
    return policy_terms(
        new.logprobs,
        batch.old_logprobs,
        batch.advantages,
        batch.mask,
        config.cliprange,
        config.clip_high,
        config.dual_clip,
    )


def value_terms_of(new: Evaluation, batch: Batch, config: UpdateConfig) -> ValueTerms:
    assert new.values is not None, "there is no critic"
    assert batch.old_values is not None, "a policy with values needs old values"
    assert batch.returns is not None, "a policy with values needs returns"
    return value_terms(new.values, batch.old_values, batch.returns, batch.mask, config.cliprange_value)


def concat_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """What a policy said of several micro-batches, as of one."""
    if len(parts) == 1:
        return parts[0]
    values = [part.values for part in parts if part.values is not None]
    return Evaluation(
        torch.cat([part.logprobs for part in parts]),
        torch.cat(values) if values else None,
        torch.cat([part.entropy for part in parts]),
    )


def total(found: Sequence[Stats]) -> Stats:
    """The sum of the losses of all micro-batches of all processes."""
    if len(found) == 1 and get_world_size() == 1:
        return found[0]
    losses = all_reduce_sum(torch.stack([torch.stack(list(each.values())) for each in found]).sum(0))
    return dict(zip(found[0], losses, strict=True))


def gather_outputs(said: Evaluation, num_rows: int) -> Evaluation:
    """What the policy said of all rows, out of what it said to each process."""
    values = None if said.values is None else all_gather_rows(said.values, num_rows)
    return Evaluation(all_gather_rows(said.logprobs, num_rows), values, all_gather_rows(said.entropy, num_rows))


def stats_of(seen: Sequence[MinibatchResult], batch: Batch, config: UpdateConfig) -> Stats:
    """Losses and norms as means over minibatches, all else over their tokens, looked at all at once.

    A small minibatch would spend more on looking at itself than on its gradient.
    """
    each = {name: torch.stack([learned.found[name] for learned in seen]) for name in seen[0].found}
    stats = {name: numbers.mean() for name, numbers in each.items()}
    stats["grad_clipped"] = (each["grad_norm"] > config.max_grad_norm).float().mean()

    new = concat_evaluations([learned.new for learned in seen])
    said = replace(batch, inputs={}).rows(torch.cat([learned.rows for learned in seen]))
    terms = policy_terms_of(new, said, config)
    stats |= policy_stats(terms, said.mask) | {"entropy": masked_mean(new.entropy, said.mask)}
    deviation = (terms.ratio - 1).abs()
    stats |= {"ratio_deviation": deviation.max(), "first_ratio_deviation": deviation[: len(seen[0].rows)].max()}
    if new.values is not None and said.old_values is not None and said.returns is not None:
        stats["value_clipfrac"] = masked_mean(value_terms_of(new, said, config).clipped.to(new.values), said.mask)
        stats["explained_variance"] = explained_variance(said.old_values, said.returns, said.mask)
    return stats
