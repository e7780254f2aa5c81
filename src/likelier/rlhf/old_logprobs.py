"""Sampler and trainer compute the same log-probabilities twice: how far they are apart, and what is done about it.

The sampler decodes token by token over a cache, the trainer runs over whole responses; both round differently, and in
bfloat16, or from another engine, by more than a little. The gradient of PPO is that of the policy which sampled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.errors import NumericError
from likelier.ppo.batch import minibatches
from likelier.ppo.kl import MAX_LOG_RATIO
from likelier.ppo.masks import masked_mean
from likelier.ppo.policy import evaluate_old_policy
from likelier.rlhf.measures import Measured, sampling_measures
from likelier.text.logprobs import TextPolicy
from likelier.text.sampler import Samples

MAX_DIFFERENCE = 0.01
"""Nats a token, on average, above which the sampler's log-probabilities are not taken for the trainer's."""


@dataclass(frozen=True)
class BehaviourPolicy:
    """The policy that sampled, as the update sees it."""

    logprobs: Float[Tensor, "B T"]
    values: Float[Tensor, "B T"] | None
    weights: Float[Tensor, "B T"] | None
    """Factors on the advantages; None: 1."""
    difference: Float[Tensor, ""]
    """Mean of |trainer's - sampler's log-probability| over tokens."""
    largest: Float[Tensor, ""]
    """The largest of these."""
    sampling: Measured
    """Whether the tokens come from the trainer's distribution."""


def behaviour_logprobs(
    policy: TextPolicy, inputs: Mapping[str, Tensor], samples: Samples, config: PPOConfig
) -> BehaviourPolicy:
    """Log-probabilities and values before the update. NumericError: the sampler's were to be used and are too far off.

    `old_logprobs: recompute` runs the forward passes of the update's first epoch, so that the first ratio is exactly 1.
    `sampler` saves them where there is no critic: only the first minibatch is run, to compare.
    """
    tokens, mask, reuse = samples.tokens, samples.mask, config.old_logprobs == "sampler"
    if reuse and policy.value_head is None:
        rows = minibatches(len(mask), config.num_mini_batches, None)[0]
        one = config.model_copy(update={"num_mini_batches": 1})
        first = {name: tensor[rows] for name, tensor in inputs.items()}
        own, values, entropy = evaluate_old_policy(policy, first, tokens[rows], mask[rows], one)
    else:
        rows = torch.arange(len(mask))
        own, values, entropy = evaluate_old_policy(policy, inputs, tokens, mask, config)
    difference, largest = logprob_gap(own, samples.logprobs[rows], mask[rows])
    if reuse and not float(difference) <= MAX_DIFFERENCE:
        raise NumericError(
            f"sampler and trainer differ by {float(difference):.3g} nats a token on average, more than "
            f"{MAX_DIFFERENCE}: use ppo.old_logprobs=recompute, with ppo.importance_cap=2 say"
        )
    cap, weights = config.importance_cap, None
    if cap is not None:
        weights = importance_weights(own, samples.logprobs, mask, cap)
    sampling = sampling_measures(own, entropy, samples.logprobs[rows], mask[rows], samples.prompt_mask[rows])
    return BehaviourPolicy(samples.logprobs if reuse else own, values, weights, difference, largest, sampling)


def logprob_gap(
    own: Float[Tensor, "B T"], sampler: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean and largest |own - sampler| where `mask`."""
    distance = torch.where(mask, own - sampler, 0.0).abs()
    return masked_mean(distance, mask), distance.max()


def importance_weights(
    own: Float[Tensor, "B T"], sampler: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], cap: float
) -> Float[Tensor, "B T"]:
    """min(exp(own - sampler), cap) where `mask`, 0 elsewhere: truncated importance sampling (Ionides 2008; Yao et al.
    2025, "Your efficient RL framework secretly brings you off-policy RL training").

    The policy's loss is linear in the advantage, clipped or not, so that weighting advantages weights the loss.
    """
    log_ratio = torch.where(mask, own - sampler, 0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.where(mask, log_ratio.exp().clamp(max=cap), 0.0)
