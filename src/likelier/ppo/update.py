"""One PPO update: epochs of minibatches of micro-batches over a batch of experience."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.ppo.batch import Batch, minibatches
from likelier.ppo.kl import MAX_LOG_RATIO, KLTerm, kl_in_loss
from likelier.ppo.losses import Stats, aggregated, default_normalizer, policy_loss, value_loss


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
    said = []
    for minibatch in minibatches(len(mask), config.num_mini_batches, None):
        for rows in minibatch.split(config.micro_batch_size or len(minibatch)):
            selected = {name: tensor[rows] for name, tensor in inputs.items()}
            said.append(policy.evaluate(selected, actions[rows], mask[rows]))
    return joined(said)


def ppo_update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
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
    counted: list[Stats] = []
    passed_over: list[Stats] = []
    steps = 0
    for epoch in range(config.num_ppo_epochs):
        for rows in minibatches(len(batch), config.num_mini_batches, generator if epoch else None):
            optimizer.zero_grad(set_to_none=True)
            minibatch = batch.rows(rows)
            stats = accumulate_gradients(policy, minibatch, config, kl)
            stats["grad_norm"] = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            stats["grad_clipped"] = (stats["grad_norm"] > config.max_grad_norm).float()
            health = stats["loss"] + stats["grad_norm"] + stats["approx_kl"] + remembered
            if not torch.isfinite(health):
                passed_over.append(stats)
                guard.skip("the loss, its gradient or the optimizer was not finite in", minibatch.tensors(), stats)
                continue
            counted.append(stats)
            if config.target_kl is not None and stats["approx_kl"] > 1.5 * config.target_kl:
                return summary(counted, steps, len(passed_over))
            optimizer.step()
            guard.ok()
            steps += 1
    return summary(counted or passed_over, steps, len(passed_over))


def largest_state(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """The largest number that the optimizer remembers: a single one that is not finite would reach the weights."""
    states = (kept for state in optimizer.state.values() for kept in state.values())
    held = [kept for kept in states if isinstance(kept, Tensor) and kept.dim()]  # a step count has no axes
    return nn.utils.get_total_norm(held, norm_type=math.inf) if held else 0.0


def accumulate_gradients(policy: Policy, batch: Batch, config: UpdateConfig, kl: KLTerm | None = None) -> Stats:
    """Gradients of one minibatch, micro-batch by micro-batch; returns the stats of the whole.

    Every micro-batch divides by the normalizers of the whole minibatch, so that cutting it changes nothing. For the
    stats, what the policy said of each is put together again: variances do not add up.
    """
    whole = Whole(
        config, kl, default_normalizer(batch.mask, config.loss_aggregation), default_normalizer(batch.mask, "token")
    )
    parts = batch.cut(config.micro_batch_size)
    said = []
    for part in parts:
        new, stats = learn_from(policy, part, whole)
        said.append(new)
    if len(parts) > 1:
        with torch.no_grad():
            _, stats = loss_of(joined(said), batch, whole)
    return stats


class Whole(NamedTuple):
    """What is the same for all micro-batches of a minibatch."""

    config: UpdateConfig
    kl: KLTerm | None
    normalizer: Float[Tensor, ""]
    """What the policy's terms are divided by."""
    tokens: Float[Tensor, ""]
    """What the critic's term and the entropy are divided by."""


def learn_from(policy: Policy, batch: Batch, whole: Whole) -> tuple[Evaluation, Stats]:
    """Add the gradients of one micro-batch to the parameters'; returns what the policy said, and stats, without graph.

    The graph must end here: an entropy that is only looked at never goes backward, and would keep its activations.
    """
    new = policy.evaluate(batch.inputs, batch.actions, batch.mask)
    loss, stats = loss_of(new, batch, whole)
    loss.backward()
    values = None if new.values is None else new.values.detach()
    return Evaluation(new.logprobs.detach(), values, new.entropy.detach()), stats


def loss_of(new: Evaluation, batch: Batch, whole: Whole) -> tuple[Float[Tensor, ""], Stats]:
    """Policy loss + kl.coef * KL penalty + vf_coef * value loss - entropy_coef * entropy."""
    config, kl, normalizer, tokens = whole
    loss, stats = policy_loss(
        new.logprobs,
        batch.old_logprobs,
        batch.advantages,
        batch.mask,
        config.cliprange,
        config.clip_high,
        config.dual_clip,
        config.loss_aggregation,
        normalizer,
    )
    entropy = aggregated(new.entropy, batch.mask, "token", tokens)
    stats |= {"policy_loss": loss.detach(), "entropy": entropy.detach()}
    stats["ratio_deviation"] = largest_deviation(new.logprobs, batch.old_logprobs, batch.mask)
    if kl is not None:
        assert batch.ref_logprobs is not None, "a KL penalty in the loss needs log-probabilities of the reference"
        term = kl_in_loss(new.logprobs, batch.old_logprobs, batch.ref_logprobs, batch.mask, kl)
        penalty = aggregated(term, batch.mask, config.loss_aggregation, normalizer)
        loss = loss + kl.coef * penalty
        stats["kl_loss"] = penalty.detach()
    if new.values is not None:
        assert batch.old_values is not None, "a policy with values needs old values"
        assert batch.returns is not None, "a policy with values needs returns"
        critic_loss, critic = value_loss(
            new.values, batch.old_values, batch.returns, batch.mask, config.cliprange_value, tokens
        )
        loss = loss + config.vf_coef * critic_loss
        stats |= {"value_loss": critic_loss.detach(), "value_clipfrac": critic["clipfrac"]}
        stats["explained_variance"] = critic["explained_variance"]
    if config.entropy_coef:
        loss = loss - config.entropy_coef * entropy
    return loss, stats | {"loss": loss.detach()}


@torch.no_grad()
def largest_deviation(
    logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """max |ratio - 1| where `mask`."""
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).expm1().abs().max()


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """What a policy said of several micro-batches, as of one."""
    values = [part.values for part in parts if part.values is not None]
    return Evaluation(
        torch.cat([part.logprobs for part in parts]),
        torch.cat(values) if values else None,
        torch.cat([part.entropy for part in parts]),
    )


def summary(seen: Sequence[Stats], steps: int, skipped: int) -> dict[str, float]:
    """Means over minibatches as numbers; `first_ratio_deviation` is |ratio - 1| at its largest before any step."""
    means = {name: torch.stack([stats[name] for stats in seen]).mean() for name in seen[0]}
    means["first_ratio_deviation"] = seen[0]["ratio_deviation"]
    numbers = torch.stack(list(means.values())).tolist()
    counts = {"optimizer_steps": float(steps), "skipped_updates": float(skipped)}
    return counts | dict(zip(means, numbers, strict=True))
