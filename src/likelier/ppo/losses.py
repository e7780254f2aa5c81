"""The losses of PPO (Schulman et al. 2017) and what is worth knowing of them; stats are detached 0-d tensors."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.ppo.kl import MAX_LOG_RATIO, clamped_share
from likelier.ppo.masks import masked_mean, masked_var

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
    """Clipped policy loss: sum(mask * max(-A * r, -A * clip(r, 1 - clip, 1 + clip_high))) / normalizer.

    r = exp(logprobs - old_logprobs). `dual_clip` c > 1 bounds the term by c * |A| where A < 0 (Ye et al. 2020).
    `aggregate`: "token" divides by the tokens in the mask, "sequence" takes the mean of each response first, "fixed"
    divides by rows times the longest allowed response.
    """
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
    advantages = torch.where(mask, advantages, 0.0)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    term = torch.maximum(plain, clipped)
    if dual_clip is not None:
        term = torch.where(advantages < 0, torch.minimum(term, -dual_clip * advantages), term)
    loss = aggregated(term, mask, aggregate, normalizer)
    with torch.no_grad():
        stats = {
            "ratio": masked_mean(ratio, mask),
            "ratio_var": masked_var(ratio, mask),
            "approx_kl": masked_mean(ratio - 1 - log_ratio, mask),
            "clipfrac": masked_mean((clipped > plain).to(ratio), mask),
            "log_ratio_clamped": clamped_share(logprobs, old_logprobs, mask),
        }
    return loss, stats


def value_loss(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    clip: float | None = 0.2,
    normalizer: float | Tensor | None = None,
) -> tuple[Float[Tensor, ""], Stats]:
    """0.5 * mean of the larger of the squared errors of `values` and of `values` kept within `clip` of `old_values`."""
    values, old_values, returns = (torch.where(mask, x, 0.0) for x in (values, old_values, returns))
    plain = (values - returns).square()
    term, clipfrac = plain, torch.zeros((), dtype=values.dtype, device=values.device)
    if clip is not None:
        clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
        term = torch.maximum(plain, clipped)
        clipfrac = masked_mean((clipped > plain).to(values), mask)
    spread = masked_var(returns, mask)
    unexplained = masked_var(returns - old_values, mask)
    explained = torch.where(spread > 0, 1 - unexplained / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0.0)
    loss = 0.5 * aggregated(term, mask, "token", normalizer)
    return loss, {"clipfrac": clipfrac.detach(), "explained_variance": explained.detach()}


def aggregated(
    term: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], aggregate: Aggregate, normalizer: float | Tensor | None
) -> Float[Tensor, ""]:
    """sum(mask * term) / normalizer, each response's term divided by its own length first under "sequence"."""
    term = torch.where(mask, term, 0.0)
    if aggregate == "sequence":
        term = term / mask.sum(1, keepdim=True).clamp(min=1)
    if normalizer is None:
        normalizer = default_normalizer(mask, aggregate)
    return term.sum() / normalizer


def default_normalizer(mask: Bool[Tensor, "B T"], aggregate: Aggregate) -> Float[Tensor, ""]:
    """What a whole minibatch divides by: its tokens, its non-empty responses, or rows times width; at least 1."""
    count = {"token": mask.sum(), "sequence": mask.any(1).sum(), "fixed": torch.tensor(mask.numel())}[aggregate]
    return count.clamp(min=1).float()


def entropy_from_logits(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N"]:
    """-sum p log p in nats; a token of probability 0 contributes 0."""
    probabilities, logprobs = torch.softmax(logits, dim=-1), torch.log_softmax(logits, dim=-1)
    return -(probabilities * torch.where(probabilities > 0, logprobs, 0.0)).sum(-1)
