"""Means, variances and whitening over masked tensors; True in a mask means that the element counts."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def masked_mean(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], dim: int | None = None) -> Float[Tensor, "..."]:
    """Mean of `x` where `mask`; 0 for an empty mask. Masked elements never reach the result or its gradient."""
    # `where`, not a product: 0 * NaN is NaN, in the value and in the gradient.
    masked = torch.where(mask, x, 0.0)
    if dim is None:
        return masked.sum() / mask.sum().clamp(min=1)
    return masked.sum(dim) / mask.sum(dim).clamp(min=1)


def masked_var(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], unbiased: bool = False) -> Float[Tensor, ""]:
    """Variance of `x` where `mask`: population variance, or with n - 1 if `unbiased`; exactly 0 for equal numbers."""
    return centre(x, mask).square().sum() / (mask.sum() - int(unbiased)).clamp(min=1)


def masked_means(xs: Sequence[Float[Tensor, "..."]], mask: Bool[Tensor, "..."]) -> tuple[Float[Tensor, ""], ...]:
    """Means of several tensors over one mask, in one pass."""
    masked = torch.where(mask, torch.stack(list(xs)), 0.0).flatten(1)
    return (masked.sum(1) / mask.sum().clamp(min=1)).unbind()


def masked_vars(xs: Sequence[Float[Tensor, "..."]], mask: Bool[Tensor, "..."]) -> tuple[Float[Tensor, ""], ...]:
    """Population variances of several tensors over one mask, in one pass; exactly 0 for equal numbers (`centre`)."""
    # Stacked: one pass over the mask for all of them; a small minibatch would spend more on stats than on its gradient.
    stacked, count = torch.stack(list(xs)), mask.sum().clamp(min=1)
    rows = (len(xs), *[1] * mask.dim())
    largest = torch.where(mask, stacked, -math.inf).flatten(1).amax(1).view(rows)
    below = torch.where(mask, stacked - largest, 0.0)
    off = torch.where(mask, below - (below.flatten(1).sum(1) / count).view(rows), 0.0)
    return (off.square().flatten(1).sum(1) / count).unbind()


def masked_whiten(
    x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], shift_mean: bool = True, eps: float = 1e-8
) -> Float[Tensor, "..."]:
    """(x - mean) * rsqrt(var + eps) where `mask`, 0 elsewhere; `shift_mean=False` adds the mean back.

    Uses the population variance (Huang et al. 2024, "The N+ implementation details of RLHF with PPO"). Training whitens
    the whole batch of a step before it is split into minibatches, also with several processes
    (`distributed.all_gather_rows`): whitening parts separately would change the signal.
    """
    whitened = centre(x, mask) * torch.rsqrt(masked_var(x, mask) + eps)
    return whitened if shift_mean else torch.where(mask, whitened + masked_mean(x, mask), 0.0)


def centre(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x - mean where `mask`, 0 elsewhere; equal numbers give exactly 0.

    The mean of equal numbers may be off by rounding, and whitening would amplify that to a signal. So differences from
    the maximum are averaged, which are 0 for equal numbers.
    """
    if not x.numel():  # there is no largest of nothing
        return x
    # Detached: the largest cancels in x - mean, and must not receive a gradient of its own.
    largest = torch.where(mask, x, -math.inf).amax().detach()
    below = torch.where(mask, x - largest, 0.0)
    return torch.where(mask, below - masked_mean(below, mask), 0.0)


class Packing:
    """Moves what counts in each row to its left end, and back, for formulas that walk from one action to the next.

    Between two actions of a policy may stand tokens that it only read, such as a tool's answer: they are part of the
    next state. To the formula the actions follow each other.
    """

    def __init__(self, mask: Bool[Tensor, "B T"]) -> None:
        self.order = (~mask).long().argsort(dim=1, stable=True)

    def pack(self, x: Shaped[Tensor, "B T"]) -> Shaped[Tensor, "B T"]:
        """Move the columns that count to the left, in their order."""
        return x.gather(1, self.order)

    def unpack(self, x: Shaped[Tensor, "B T"]) -> Shaped[Tensor, "B T"]:
        """Put the columns of the output of `pack` back."""
        return torch.zeros_like(x).scatter(1, self.order, x)


def has_gaps(mask: Bool[Tensor, "B T"]) -> bool:
    """True if something that counts stands behind something that does not."""
    return bool((mask[:, 1:] & ~mask[:, :-1]).any())
