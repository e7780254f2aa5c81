"""How far the policy is from its reference, and what a nat of that costs."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped at this inside `exp`, so that one token cannot overflow a batch."""


def kl_estimate(
    logprobs: Float[Tensor, "..."], ref_logprobs: Float[Tensor, "..."], kind: Literal["k1", "k2", "k3"] = "k1"
) -> Float[Tensor, "..."]:
    """One-sample estimates of KL(policy || reference) at tokens sampled from the policy (Schulman 2020).

    With l = logprobs - ref_logprobs: k1 = l, k2 = l^2 / 2, k3 = exp(-l) - 1 + l. k1 and k3 are unbiased, k2 is not.
    """
    log_ratio = logprobs - ref_logprobs
    if kind == "k1":
        return log_ratio
    if kind == "k2":
        return log_ratio.square() / 2
    return torch.exp(-log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)) - 1 + log_ratio


class FixedKL:
    """The same price throughout."""

    def __init__(self, coef: float) -> None:
        self.coef = coef

    def update(self, kl: float, n: int) -> None:
        """Nothing to do."""


class AdaptiveKL:
    """Steers the price so that the KL of a response comes near `target` (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, coef: float, target: float, horizon: float) -> None:
        self.coef, self.target, self.horizon = coef, target, horizon

    def update(self, kl: float, n: int) -> None:
        """coef *= 1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon; `kl` in nats a response, `n` responses."""
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + error * n / self.horizon
