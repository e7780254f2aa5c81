"""KL estimators and penalties, and the controllers of the KL coefficient."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.ppo.masks import masked_mean

Kind = Literal["k1", "k2", "k3"]
MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped at this inside `exp`, so that one token cannot overflow a batch."""


def kl_estimate(
    logprobs: Float[Tensor, "..."], ref_logprobs: Float[Tensor, "..."], kind: Kind = "k1"
) -> Float[Tensor, "..."]:
    """One-sample estimates of KL(policy || reference) at tokens sampled from the policy (Schulman 2020).

    With l = logprobs - ref_logprobs: k1 = l, k2 = l^2 / 2, k3 = exp(-l) - 1 + l. k1 and k3 are unbiased, k2 is not.
    """
    log_ratio = logprobs - ref_logprobs
    # k1 is unbiased and negative as often as not; k2 is biased with little variance; k3 adds the control variate
    # exp(-l) - 1 of mean 0 to k1 and is never negative. Which one optimises what: docs/prove.md.
    if kind == "k1":
        return log_ratio
    if kind == "k2":
        return log_ratio.square() / 2
    return torch.exp(-log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)) - 1 + log_ratio


def clamped_share(
    logprobs: Float[Tensor, "B T"], others: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Share of tokens whose log-ratio is clamped before `exp`."""
    return masked_mean((torch.where(mask, logprobs - others, 0.0).abs() > MAX_LOG_RATIO).to(logprobs), mask)


@dataclass(frozen=True)
class KLTerm:
    """A KL penalty as a term of the loss."""

    coef: float
    """Cost of one nat."""
    kind: Kind
    level: Literal["response", "token"]
    """Estimate the KL of whole responses, or of each token as if nothing came after it."""
    ratio: bool
    """Multiply by the ratio pi / pi_old, differentiated: the gradient of an expectation over samples of pi itself."""


def make_kl_term(config: PPOConfig, coef: float) -> KLTerm | None:
    """The KL loss term at the current coefficient; None if the penalty is in the reward, or left to a user's `loss`."""
    if config.penalty_in_reward or config.loss is not None:
        return None
    return KLTerm(coef, config.kl_estimator, config.kl_level, config.kl_place == "loss_ratio")


def kl_in_loss(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    ref_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    term: KLTerm,
) -> Float[Tensor, "B T"]:
    """Per-token terms of a KL penalty in the loss (without its coefficient); 0 outside the mask.

    With l_t = logprobs - ref_logprobs and w_t = exp(logprobs - old_logprobs), a token's term is k(l_t), times w_t if
    `term.ratio`. At response level it is k(l_1 + … + l_T), times w_1 ⋯ w_T, divided equally among the tokens. Its
    expected gradient at pi_old, with E over samples of pi and L = l_1 + … + l_T:

        loss        k1: 0                 k2: E[L grad log pi] = grad KL(pi || ref)    k3: grad KL(ref || pi)
        loss_ratio  k1: grad KL(pi||ref)  k2: grad E[L^2 / 2]                          k3: grad KL(pi || ref)

    At token level the same holds for each next-token distribution separately, with the sampled prefixes: the KL of
    later tokens is not attributed to earlier ones. docs/prove.md shows how far that is from the optimum.
    """
    log_ratio = torch.where(mask, logprobs - ref_logprobs, 0.0)
    moved = torch.where(mask, logprobs - old_logprobs, 0.0)  # 0 at pi_old, but its gradient is grad log pi
    parts: Tensor | int = 1
    if term.level == "response":
        # log pi(response) is the sum over its tokens: the KL of whole responses counts what a token leads to, too.
        # An equal part of it on each token keeps it whole under every `loss_aggregation` that sums tokens.
        log_ratio, moved = log_ratio.sum(1, keepdim=True), moved.sum(1, keepdim=True)
        parts = mask.sum(1, keepdim=True).clamp(min=1)
    estimate = kl_estimate(log_ratio, torch.zeros_like(log_ratio), term.kind)
    if term.ratio:
        # Differentiates the sampling distribution as well: grad E_pi[k] = E_old[grad (w k)] at pi = pi_old.
        estimate = estimate * moved.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return torch.where(mask, estimate / parts, 0.0)


class FixedKL:
    """A constant KL coefficient."""

    def __init__(self, coef: float) -> None:
        self.coef = coef

    def update(self, kl: float, n: int) -> None:
        """Do nothing: the coefficient is constant."""


class AdaptiveKL:
    """Adapts the coefficient so that the KL per response approaches `target` (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, coef: float, target: float, horizon: float) -> None:
        self.coef, self.target, self.horizon = coef, target, horizon

    def update(self, kl: float, n: int) -> None:
        """coef *= 1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon; `kl` in nats per response, `n` responses.

        A non-finite KL is ignored, since the coefficient would stay non-finite.
        """
        if not math.isfinite(kl):
            return
        # Clipped to a fifth, as in the paper: one batch with a wild KL must not move the coefficient far.
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + error * n / self.horizon
