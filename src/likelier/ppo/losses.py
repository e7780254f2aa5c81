"""The losses of PPO (Schulman et al. 2017) and what is worth knowing of them; stats are detached 0-d tensors."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

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
    """Clipped policy loss: sum(mask * max(-A * r, -A * clip(r, 1 - clip, 1 + clip_high))) / normalizer.

    r = exp(logprobs - old_logprobs). `dual_clip` c > 1 bounds the term by c * |A| where A < 0 (Ye et al. 2020).
    `aggregate`: "token" divides by the tokens in the mask, "sequence" takes the mean of each response first, "fixed"
    divides by rows times the longest allowed response.
    """
    with torch.no_grad():
        log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
        advantages = torch.where(mask, advantages, 0.0)
        held = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        ratio = held.exp()
        plain = -advantages * ratio
        clipped = -advantages * ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
        term, flat = torch.maximum(plain, clipped), (clipped > plain) | (held != log_ratio)
        if dual_clip is not None:
            bound = torch.where(advantages < 0, -dual_clip * advantages, math.inf)
            term, flat = torch.minimum(term, bound), flat | (term > bound)
        stats = policy_stats(ratio, log_ratio, clipped > plain, held != log_ratio, mask)
        slope = plain.masked_fill(flat, 0.0)  # d/dx of -A exp(x - old) is itself; where a bound holds it is 0
    return aggregated(with_slope(term, logprobs, slope), mask, aggregate, normalizer), stats


def policy_stats(
    ratio: Float[Tensor, "B T"],
    log_ratio: Float[Tensor, "B T"],
    clipped: Bool[Tensor, "B T"],
    clamped: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Stats:
    """Means over `mask`, all at once: a small minibatch spends more on looking at itself than on its gradient.

    The variance is taken around 1, where ratios are: mean (r - 1)^2 - (mean (r - 1))^2.
    """
    above = ratio - 1
    looked_at = [ratio, above, above.square(), above - log_ratio, clipped.to(ratio), clamped.to(ratio)]
    mean, shift, square, approx_kl, clipfrac, log_ratio_clamped = masked_means(looked_at, mask)
    return {
        "ratio": mean,
        "ratio_var": (square - shift.square()).clamp(min=0.0),
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
    """0.5 * mean of the larger of the squared errors of `values` and of `values` kept within `clip` of `old_values`."""
    with torch.no_grad():
        new, old_values, returns = (torch.where(mask, x, 0.0) for x in (values, old_values, returns))
        error = new - returns
        term, slope = error.square(), 2 * error
        clipfrac = torch.zeros((), dtype=values.dtype, device=values.device)
        if clip is not None:
            moved = new - old_values  # adding an unclipped move back would round, and count as clipped
            kept = torch.where(moved.abs() <= clip, new, old_values + moved.clamp(-clip, clip))
            clipped = (kept - returns).square()
            flat = clipped > term
            term, slope = torch.maximum(term, clipped), slope.masked_fill(flat, 0.0)
            clipfrac = masked_mean(flat.to(values), mask)
        spread, unexplained = masked_vars([returns, returns - old_values], mask)
        explained = torch.where(spread > 0, 1 - unexplained / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0.0)
    loss = 0.5 * aggregated(with_slope(term, values, slope), mask, "token", normalizer)
    return loss, {"clipfrac": clipfrac, "explained_variance": explained}


class WithSlope(torch.autograd.Function):
    """Numbers whose derivative is known: one node of graph instead of a dozen, half the time of a small batch."""

    @staticmethod
    def forward(ctx: FunctionCtx, term: Tensor, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return term.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (slope,) = ctx.saved_tensors
        return None, gradient * slope, None


def with_slope(
    term: Float[Tensor, "B T"], x: Float[Tensor, "B T"], slope: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`term`, as a function of `x` whose derivative is `slope`."""
    found: Tensor = WithSlope.apply(term, x, slope)  # type: ignore[no-untyped-call]
    return found


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
    if aggregate == "fixed":
        return torch.tensor(float(max(1, mask.numel())))
    count = mask.sum() if aggregate == "token" else mask.any(1).sum()
    return count.clamp(min=1).float()


def entropy_from_logits(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N"]:
    """-sum p log p in nats; a token of probability 0 contributes 0."""
    probabilities, logprobs = torch.softmax(logits, dim=-1), torch.log_softmax(logits, dim=-1)
    return -(probabilities * torch.where(probabilities > 0, logprobs, 0.0)).sum(-1)
