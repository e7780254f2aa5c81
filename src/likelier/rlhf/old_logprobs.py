"""Log-probabilities under the policy that sampled, recomputed by the trainer or taken from the sampler.

The sampler decodes token by token with a cache, the trainer runs on whole responses; their rounding differs, noticeably
in bfloat16 or with another engine. The denominator of PPO's ratio is the policy that sampled (`pi_old`).
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
from likelier.rlhf.measures import Measures, measure_sampling
from likelier.text.policy import TextPolicy
from likelier.text.sampler import Samples

MAX_MEAN_GAP = 0.01
"""Nats a token, on average, above which the sampler's log-probabilities may not replace the trainer's."""

CHECKED_PART = 4
"""Of so many responses one is compared, where the sampler's log-probabilities stand for the trainer's."""


@dataclass(frozen=True)
class BehaviourPolicy:
    """Log-probabilities and values of the policy that sampled, for the update."""

    logprobs: Float[Tensor, "B T"]
    values: Float[Tensor, "B T"] | None
    """Of the critic; None without one."""
    weights: Float[Tensor, "B T"] | None
    """Importance weights on the advantages; None: 1."""
    mean_gap: Float[Tensor, ""]
    """Mean of |trainer's - sampler's log-probability| over tokens."""
    max_gap: Float[Tensor, ""]
    """The largest of these."""
    sampling: Measures
    """Of `measure_sampling`."""


def behaviour_logprobs(
    policy: TextPolicy, inputs: Mapping[str, Tensor], samples: Samples, config: PPOConfig
) -> BehaviourPolicy:
    """Old log-probabilities and values. NumericError: those of the sampler are to be used but differ too much.

    `old_logprobs: recompute` runs the forward passes of the update's first epoch, so that the first ratio is exactly 1.
    `sampler` saves these passes if there is no critic: only the first minibatch, and of it no more than a quarter of
    all responses, is run, for comparison.
    """
    tokens, mask, reuse = samples.tokens, samples.drawn, config.old_logprobs == "sampler"
    if reuse and policy.value_head is None:
        rows = minibatches(len(mask), config.num_mini_batches, None)[0][: -(-len(mask) // CHECKED_PART)]
        # One minibatch of these rows: in the same cuts into micro-batches as the update's first one.
        one_minibatch = config.model_copy(update={"num_mini_batches": 1})
        first = {name: tensor[rows] for name, tensor in inputs.items()}
        sampler_logprobs, values, entropy = evaluate_old_policy(policy, first, tokens[rows], mask[rows], one_minibatch)
    else:
        rows = torch.arange(len(mask))
        # All rows: a critic needs them for its values, and recomputing means them all.
        sampler_logprobs, values, entropy = evaluate_old_policy(policy, inputs, tokens, mask, config)
    mean_gap, max_gap = logprob_gap(sampler_logprobs, samples.logprobs[rows], mask[rows])
    # Negated, so that NaN raises as well: with it every ratio of the update would be NaN.
    if reuse and not float(mean_gap) <= MAX_MEAN_GAP:
        raise NumericError(
            f"sampler and trainer differ by {float(mean_gap):.3g} nats a token on average, more than "
            f"{MAX_MEAN_GAP}: use ppo.old_logprobs=recompute, with ppo.importance_cap=2 say"
        )
    # Only with `recompute`: where ratios are taken against the sampler itself they hold these weights already.
    cap, floor, weights = config.importance_cap, config.importance_floor, None
    if cap is not None and floor is not None:
        weights = banded_weights(sampler_logprobs, samples.logprobs, mask, floor, cap)
    elif cap is not None:
        weights = importance_weights(sampler_logprobs, samples.logprobs, mask, cap)
    sampling = measure_sampling(
        sampler_logprobs, entropy, samples.logprobs[rows], mask[rows], samples.prompt_mask[rows]
    )
    return BehaviourPolicy(
        samples.logprobs if reuse else sampler_logprobs, values, weights, mean_gap, max_gap, sampling
    )


def logprob_gap(
    logprobs: Float[Tensor, "B T"], sampler_logprobs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean and largest |logprobs - sampler_logprobs| where `mask`."""
    gap = torch.where(mask, logprobs - sampler_logprobs, 0.0).abs()
    return masked_mean(gap, mask), gap.max()


def importance_weights(
    logprobs: Float[Tensor, "B T"], sampler_logprobs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], cap: float
) -> Float[Tensor, "B T"]:
    """min(exp(logprobs - sampler_logprobs), cap) where `mask`, 0 elsewhere: truncated importance sampling.

    Ionides 2008; Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training". Without the
    cap a few tokens with a low sampler probability would dominate the gradient.
    """
    return torch.where(mask, compute_ratio(logprobs, sampler_logprobs, mask).clamp(max=cap), 0.0)


def banded_weights(
    logprobs: Float[Tensor, "B T"],
    sampler_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    low: float,
    high: float,
) -> Float[Tensor, "B T"]:
    """k = exp(logprobs - sampler_logprobs) where `mask` and low <= k <= high, 0 elsewhere.

    Ling team 2025, "Every Step Evolves" (IcePop): a token of which sampler and trainer think so differently tells of
    their mismatch, and a cap would still learn from it.
    """
    ratio = compute_ratio(logprobs, sampler_logprobs, mask)
    return torch.where(mask & (ratio >= low) & (ratio <= high), ratio, 0.0)


def compute_ratio(
    logprobs: Float[Tensor, "B T"], sampler_logprobs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """exp(logprobs - sampler_logprobs) where `mask`, 1 elsewhere."""
    # Clamped inside exp: a token that the sampler could hardly draw must not overflow before a cap.
    return torch.where(mask, logprobs - sampler_logprobs, 0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
