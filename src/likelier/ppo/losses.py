"""The losses of PPO as the papers write them: pure functions of tensors, differentiated by autograd.

With r_t = pi(a_t|s_t) / pi_old(a_t|s_t) and eps the clip range, PPO maximises

    L^CLIP = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)]       Schulman et al. 2017, "Proximal policy optimization
    L^CLIP - c_1 L^VF + c_2 S                                       algorithms", eq. 7 and 9

Here everything is a loss to be minimised, so the signs are flipped. `ppo/objective.py` adds the terms. Every mean is
computed as sum / normalizer, so that an update can pass the whole minibatch's normalizer to each micro-batch: their
losses and gradients then add up to those of the minibatch, however it is split.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.ppo.kl import MAX_LOG_RATIO
from likelier.ppo.masks import masked_mean, masked_means, masked_vars

Stats = dict[str, Tensor]
Aggregate = Literal["token", "sequence", "fixed"]


def policy_loss(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip: float = 0.2,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    aggregate: Aggregate = "token",
    normalizer: float | Tensor | None = None,
) -> tuple[Float[Tensor, ""], Stats]:
    """Clipped policy loss: sum(mask * max(-A r, -A clip(r, 1 - clip, 1 + clip_high))) / normalizer; detached stats.

    `clip_high` None means `clip`; a larger one lets unlikely tokens rise faster ("clip-higher", Yu et al. 2025, DAPO).
    `dual_clip` c > 1 bounds the term by c |A| where A < 0. `aggregate` and `normalizer`: see `aggregate_terms`.
    """
    terms = policy_terms(logprobs, old_logprobs, advantages, mask, clip, clip_high, dual_clip)
    return aggregate_terms(terms.loss, mask, aggregate, normalizer), policy_stats(terms, mask)


class PolicyTerms(NamedTuple):
    """Per-token policy loss and the inputs of its stats; outside the mask the ratio is 1, everything else 0."""

    loss: Float[Tensor, "B T"]
    ratio: Float[Tensor, "B T"]
    log_ratio: Float[Tensor, "B T"]
    """Not clamped."""
    is_clipped: Bool[Tensor, "B T"]
    """True where the clipped branch is the larger one, so that the token has no gradient."""


def policy_terms(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip: float,
    clip_high: float | None,
    dual_clip: float | None,
) -> PolicyTerms:
    """Compute max(-A r, -A clip(r, 1 - clip, 1 + clip_high)) of each token: Schulman et al. 2017, eq. 7, as a loss."""
    # The inputs are masked, not the result: NaN and inf survive a product with 0, and `where` behind an `exp` still
    # sends 0 * inf = NaN back through it.
    logprobs, old_logprobs, advantages = (torch.where(mask, x, 0.0) for x in (logprobs, old_logprobs, advantages))
    log_ratio = logprobs - old_logprobs
    # One token whose log-ratio is 90 would overflow float32 and with it the batch. It keeps a finite loss, no gradient.
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()

    # The maximum is the pessimistic bound of the paper: clipping takes away the gain of a step that goes too far, never
    # its cost. A bad action that became likelier is unlearnt at full strength.
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    loss = torch.maximum(unclipped, clipped)
    if dual_clip is not None:
        # That cost has no bound: where a bad action became many times as likely, its gradient dwarfs all others
        # (Ye et al. 2020, "Mastering complex control in MOBA games with deep reinforcement learning").
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    return PolicyTerms(loss, ratio, log_ratio, clipped > unclipped)


@torch.no_grad()
def policy_stats(terms: PolicyTerms, mask: Bool[Tensor, "B T"]) -> Stats:
    """Mean of each statistic over `mask`: the "debug variables" of Huang et al. 2022, detail 12.

    `approx_kl` is the mean of r - 1 - log r, the k3 estimate of KL(pi_old || pi) (Schulman 2020, "Approximating KL
    divergence").
    """
    # The variance is taken around 1, where ratios are: mean (r - 1)^2 - (mean (r - 1))^2 loses no digits there.
    shift, is_clamped = terms.ratio - 1, terms.log_ratio.abs() > MAX_LOG_RATIO
    columns = [terms.ratio, shift, shift.square(), shift - terms.log_ratio]
    columns += [terms.is_clipped.to(shift), is_clamped.to(shift)]
    mean, mean_shift, mean_square, approx_kl, clipfrac, log_ratio_clamped = masked_means(columns, mask)
    return {
        "ratio": mean,
        "ratio_var": (mean_square - mean_shift.square()).clamp(min=0.0),
        "approx_kl": approx_kl,
        "clipfrac": clipfrac,
        "log_ratio_clamped": log_ratio_clamped,
    }


def value_loss(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip: float | None = 0.2,
    normalizer: float | Tensor | None = None,
) -> tuple[Float[Tensor, ""], Stats]:
    """0.5 * sum(mask * max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2)) / normalizer; detached stats.

    `clip` None: 0.5 * (V - R)^2. Clipping comes from OpenAI's code, not from the paper (Huang et al. 2022, "The 37
    implementation details of PPO", detail 9; also in RLHF: Huang et al. 2024, "The N+ implementation details of RLHF
    with PPO").
    """
    terms = value_terms(values, old_values, returns, mask, clip)
    stats = {
        "clipfrac": masked_mean(terms.is_clipped.to(values), mask),
        "explained_variance": explained_variance(old_values, returns, mask),
    }
    return aggregate_terms(terms.loss, mask, "token", normalizer), stats


class ValueTerms(NamedTuple):
    """The value loss of each token, 0 outside the mask."""

    loss: Float[Tensor, "B T"]
    is_clipped: Bool[Tensor, "B T"]
    """True where the error of the clipped value is the larger one, so that the token has no gradient."""


def value_terms(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip: float | None,
) -> ValueTerms:
    """Compute 0.5 * max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2) of each token."""
    values, old_values, returns = (torch.where(mask, x, 0.0) for x in (values, old_values, returns))
    unclipped = 0.5 * (values - returns).square()
    if clip is None:
        return ValueTerms(unclipped, torch.zeros_like(mask))
    # Not V_old + (V - V_old).clamp(-clip, clip): that rounds, and would count values that hardly moved as clipped.
    clipped = 0.5 * (values.clamp(old_values - clip, old_values + clip) - returns).square()
    return ValueTerms(torch.maximum(unclipped, clipped), clipped > unclipped)


@torch.no_grad()
def explained_variance(
    old_values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """1 - Var(returns - old_values) / Var(returns); 0 for a constant critic, or if the returns are constant."""
    total, unexplained = masked_vars([returns, returns - old_values], mask)
    return torch.where(total > 0, 1 - unexplained / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def aggregate_terms(
    terms: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    aggregate: Aggregate = "token",
    normalizer: float | Tensor | None = None,
) -> Float[Tensor, ""]:
    """sum(mask * term) / normalizer; the default normalizer is that of the given rows.

    "token"     / tokens: every token weighs the same, so long responses weigh more (Yu et al. 2025, DAPO)
    "sequence"  each response's mean, / responses: every response weighs the same (Shao et al. 2024, GRPO)
    "fixed"     / (rows * longest allowed response): a constant that favours no length (Liu et al. 2025, Dr. GRPO)
    """
    terms = scale_by_length(torch.where(mask, terms, 0.0), mask, aggregate)
    return terms.sum() / (default_normalizer(mask, aggregate) if normalizer is None else normalizer)


def scale_by_length(
    terms: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], aggregate: Aggregate
) -> Float[Tensor, "B T"]:
    """Divide each response's terms by its length under "sequence"; otherwise return the terms unchanged."""
    return terms / mask.sum(1, keepdim=True).clamp(min=1) if aggregate == "sequence" else terms


def default_normalizer(mask: Bool[Tensor, "B T"], aggregate: Aggregate) -> Float[Tensor, ""]:
    """Number of tokens, of non-empty responses, or rows times width, by `aggregate`; at least 1."""
    if aggregate == "fixed":
        return torch.tensor(float(max(1, mask.numel())))
    return torch.count_nonzero(mask if aggregate == "token" else mask.any(1)).clamp(min=1).float()


def entropy_from_logits(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N"]:
    """-sum p log p in nats; a token of probability 0 contributes 0."""
    probabilities, logprobs = torch.softmax(logits, dim=-1), torch.log_softmax(logits, dim=-1)
    return -(probabilities * torch.where(probabilities > 0, logprobs, 0.0)).sum(-1)
