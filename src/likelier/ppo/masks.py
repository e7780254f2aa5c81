"""Means, variances and whitening over the places that count; True in a mask means "counts"."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], dim: int | None = None) -> Float[Tensor, "..."]:
    """Mean of `x` where `mask`; 0 where the mask is empty. Places outside never reach the result or its gradient."""
    kept = torch.where(mask, x, 0.0)
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim) / mask.sum(dim).clamp(min=1)


def masked_var(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], unbiased: bool = False) -> Float[Tensor, ""]:
    """Variance of `x` where `mask`: of the population, or with n - 1 where `unbiased`."""
    centred = torch.where(mask, x, 0.0) - masked_mean(x, mask)
    squares = torch.where(mask, centred, 0.0).square().sum()
    return squares / (mask.sum() - int(unbiased)).clamp(min=1)


def masked_whiten(
    x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], shift_mean: bool = True, eps: float = 1e-8
) -> Float[Tensor, "..."]:
    """(x - mean) * rsqrt(var + eps) where `mask`, 0 elsewhere; `shift_mean=False` adds the mean back."""
    mean = masked_mean(x, mask)
    whitened = (torch.where(mask, x, mean) - mean) * torch.rsqrt(masked_var(x, mask) + eps)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)
