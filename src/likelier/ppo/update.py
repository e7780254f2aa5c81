"""One PPO update: epochs of minibatches of micro-batches over a batch of experience."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.ppo.batch import Batch, minibatches
from likelier.ppo.losses import default_normalizer, policy_loss, value_loss
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
class SkipCounter(Protocol):
    """Counts updates skipped for a number that was not finite; `skip` may stop the run."""

    def ok(self) -> None: ...
    def skip(self, reason: str) -> None: ...


@torch.no_grad()
def old_evaluation(
    policy: Policy, inputs: Mapping[str, Tensor], actions: Tensor, mask: Bool[Tensor, "B T"], config: UpdateConfig
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"] | None]:
    """Log-probabilities and values of the policy as it is, in exactly the cuts of the update's first epoch.

    A matrix product depends in its last bit on how many rows it has; with the same cuts the first ratio is exactly 1.
    """
    parts = []
    for minibatch in minibatches(len(mask), config.num_mini_batches, None):
        for rows in minibatch.split(config.micro_batch_size or len(minibatch)):
            selected = {name: tensor[rows] for name, tensor in inputs.items()}
            parts.append(policy.evaluate(selected, actions[rows], mask[rows]))
    logprobs = torch.cat([part.logprobs for part in parts])
    values = [part.values for part in parts if part.values is not None]
    return logprobs, torch.cat(values) if values else None


def ppo_update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: UpdateConfig,
    generator: torch.Generator,
    guard: SkipCounter,
) -> dict[str, float]:
    """Train on a batch for `num_ppo_epochs`; returns means over minibatches, and counts.

    The first epoch takes rows as they come (whoever built the batch shuffled them), later ones shuffle. A minibatch
    that finds the policy too far from the one that sampled (approx_kl above 1.5 * target_kl) ends the update unstepped.
    """
    seen: list[dict[str, Tensor]] = []
    steps = skipped = 0
    for epoch in range(config.num_ppo_epochs):
        for rows in minibatches(len(batch), config.num_mini_batches, generator if epoch else None):
            optimizer.zero_grad(set_to_none=True)
            stats = accumulate_gradients(policy, batch.rows(rows), config)
            seen.append(stats)
            if config.target_kl is not None and stats["approx_kl"] > 1.5 * config.target_kl:
                return summary(seen, steps, skipped)
            stats["grad_norm"] = nn.utils.clip_grad_norm_(list(policy.parameters()), config.max_grad_norm)
            if torch.isfinite(stats["loss"] + stats["grad_norm"]):
                optimizer.step()
                guard.ok()
                steps += 1
            else:
                skipped += 1
                seen.pop()
                guard.skip("the loss or its gradient was not finite in")
    return summary(seen, steps, skipped)


def accumulate_gradients(policy: Policy, batch: Batch, config: UpdateConfig) -> dict[str, Tensor]:
    """Gradients of one minibatch, micro-batch by micro-batch; its stats, weighted by tokens.

    Every micro-batch divides by the normalizer of the whole minibatch, so that cutting it changes nothing.
    """
    normalizer = default_normalizer(batch.mask, config.loss_aggregation)
    tokens = default_normalizer(batch.mask, "token")
    total: dict[str, Tensor] = {}
    for rows in torch.arange(len(batch)).split(config.micro_batch_size or len(batch)):
        part = batch.rows(rows)
        loss, stats = loss_of(policy, part, config, normalizer, tokens)
        loss.backward()
        for name, value in stats.items():
            total[name] = joined(name, total.get(name), value, part.mask.sum())
    return {name: value if is_whole(name) else value / tokens for name, value in total.items()}


def is_whole(name: str) -> bool:
    """Losses are parts of a sum already, `ratio_deviation` is a maximum; other stats are means over tokens."""
    return name.endswith(("loss", "deviation"))


def joined(name: str, before: Tensor | None, value: Tensor, tokens: Tensor) -> Tensor:
    """A stat of the micro-batches so far and of the next one, which has so many tokens."""
    value = value if is_whole(name) else value * tokens
    if before is None:
        return value
    return torch.maximum(before, value) if name == "ratio_deviation" else before + value


def loss_of(
    policy: Policy, batch: Batch, config: UpdateConfig, normalizer: Tensor, tokens: Tensor
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Policy loss + vf_coef * value loss - entropy_coef * entropy of one micro-batch."""
    new = policy.evaluate(batch.inputs, batch.actions, batch.mask)
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
    entropy = masked_mean(new.entropy, batch.mask)
    stats |= {"policy_loss": loss.detach(), "entropy": entropy.detach()}
    with torch.no_grad():
        log_ratio = torch.where(batch.mask, new.logprobs - batch.old_logprobs, 0.0)
        stats["ratio_deviation"] = log_ratio.expm1().abs().max()
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
        loss = loss - config.entropy_coef * entropy * batch.mask.sum() / tokens
    return loss, stats | {"loss": loss.detach()}


def summary(seen: list[dict[str, Tensor]], steps: int, skipped: int) -> dict[str, float]:
    """Means over minibatches as numbers; `first_ratio_deviation` is |ratio - 1| at its largest before any step."""
    found: dict[str, float] = {"optimizer_steps": float(steps), "skipped_updates": float(skipped)}
    if seen:
        found["first_ratio_deviation"] = float(seen[0]["ratio_deviation"])
    for name in dict.fromkeys(name for stats in seen for name in stats):
        found[name] = float(torch.stack([stats[name] for stats in seen if name in stats]).mean())
    return found
