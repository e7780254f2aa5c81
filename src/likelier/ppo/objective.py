"""The loss of an update, and the backward pass of one micro-batch.

    loss = policy loss + kl.coef * KL + vf_coef * value loss - entropy_coef * entropy

Schulman et al. 2017, eq. 9, plus the KL from the reference if it is not in the reward.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig, UpdateConfig
from likelier.ppo.batch import Batch
from likelier.ppo.kl import KLTerm, kl_estimate, kl_in_loss, make_kl_term
from likelier.ppo.losses import Stats, aggregate_terms, policy_terms, value_terms
from likelier.ppo.policy import Evaluation
from likelier.ppo.user_loss import LossFunction, UserLoss


class LossContext(NamedTuple):
    """Settings and normalizers shared by all micro-batches of a minibatch."""

    config: UpdateConfig
    normalizer: Float[Tensor, ""]
    """The policy's terms of the whole minibatch are divided by this, as `loss_aggregation` says."""
    num_tokens: Float[Tensor, ""]
    """Tokens of the whole minibatch: by these the value loss and the entropy are divided."""
    is_whole: bool = True
    """The micro-batch is the whole minibatch, in one process."""


@runtime_checkable
class Objective(Protocol):
    """A loss that an update minimises."""

    @property
    def clips(self) -> bool:
        """True if the policy loss is the clipped one, so that `clipfrac` is meaningful."""
        ...

    def backward(self, outputs: Evaluation, batch: Batch, context: LossContext) -> Stats:
        """Add the gradients of one micro-batch's loss to the parameters' gradients; returns detached losses.

        These are sums over the micro-batch divided by the minibatch's normalizers: `loss`, `policy_loss`, `approx_kl`,
        and `kl_loss` and `value_loss` if they exist.
        """
        ...


@dataclass(frozen=True)
class PPOLoss:
    """PPO's loss, by autograd. `kl`: KL term; `user_loss`: replaces policy loss and KL term."""

    kl: KLTerm | None = None
    user_loss: UserLoss | None = None

    @property
    def clips(self) -> bool:
        """True if the policy loss is the clipped one; False for a user's own loss."""
        return self.user_loss is None

    def backward(self, outputs: Evaluation, batch: Batch, context: LossContext) -> Stats:
        """Backpropagate the loss of one micro-batch; return its parts, detached."""
        loss, losses = self.compute(outputs, batch, context)
        loss.backward()
        return {name: value.detach() for name, value in losses.items()}

    def compute(self, outputs: Evaluation, batch: Batch, context: LossContext) -> tuple[Float[Tensor, ""], Stats]:
        """Return the loss, and its parts by the names of the metrics."""
        # Value loss and entropy are means over tokens, however the policy's terms are aggregated.
        config, normalizer, num_tokens, is_whole = context
        how, mask = config.loss_aggregation, batch.mask
        # The same minibatch normalizers in every micro-batch: gradients add up to those of the minibatch.
        losses = {"approx_kl": approximate_kl(outputs, batch, num_tokens)}
        if self.user_loss is None:
            clips = config.cliprange, config.clip_high, config.dual_clip
            policy = policy_terms(outputs.logprobs, batch.old_logprobs, batch.advantages, mask, *clips)
            loss = aggregate_terms(policy.loss, mask, how, normalizer)
        else:
            loss = self.user_loss.compute(outputs.logprobs, batch, how, normalizer, is_whole)
        losses["policy_loss"] = loss
        if self.kl is not None:
            # A gradient of the KL itself, where a penalty in the reward would go through the advantages.
            assert batch.ref_logprobs is not None, "a KL penalty in the loss needs log-probabilities of the reference"
            kl_terms = kl_in_loss(outputs.logprobs, batch.old_logprobs, batch.ref_logprobs, mask, self.kl)
            losses["kl_loss"] = aggregate_terms(kl_terms, mask, how, normalizer)
            loss = loss + self.kl.coef * losses["kl_loss"]
        if outputs.values is not None:
            losses["value_loss"] = compute_value_loss(outputs.values, batch, context)
            loss = loss + config.vf_coef * losses["value_loss"]
        if config.entropy_coef:
            # S of eq. 9: keeps the policy from settling before it has seen enough.
            loss = loss - config.entropy_coef * aggregate_terms(outputs.entropy, mask, "token", num_tokens)
        return loss, losses | {"loss": loss}


def compute_value_loss(values: Float[Tensor, "B T"], batch: Batch, context: LossContext) -> Float[Tensor, ""]:
    """Return the critic's loss, a mean over the minibatch's tokens however the policy's terms are aggregated."""
    # The critic learns from returns that hold its own old values: bootstrapping, so that errors decay slowly.
    assert batch.old_values is not None, "a policy with values needs old values"
    assert batch.returns is not None, "a policy with values needs returns"
    terms = value_terms(values, batch.old_values, batch.returns, batch.mask, context.config.cliprange_value)
    return aggregate_terms(terms.loss, batch.mask, "token", context.num_tokens)


def make_objective(config: PPOConfig, kl_coef: float, user_loss: LossFunction | None) -> PPOLoss:
    """Make the configured loss at the current KL coefficient; `user_loss` is the function of `config.loss`."""
    if config.loss is None or user_loss is None:
        return PPOLoss(make_kl_term(config, kl_coef))
    return PPOLoss(user_loss=UserLoss(config.loss, user_loss, kl_coef))


@torch.no_grad()
def approximate_kl(outputs: Evaluation, batch: Batch, num_tokens: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """KL(pi_old || pi) per token by k3, ratio - 1 - log ratio, which `target_kl` bounds."""
    terms = kl_estimate(batch.old_logprobs, outputs.logprobs, "k3")
    return aggregate_terms(terms, batch.mask, "token", num_tokens)
