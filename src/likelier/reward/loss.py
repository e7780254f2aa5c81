"""The loss of a reward model: the Bradley-Terry likelihood with weights, ties, margins and annotator errors."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

PerPair = Float[Tensor, " N"] | float | None


def preference_loss(
    chosen: Float[Tensor, " N"],
    rejected: Float[Tensor, " N"],
    weight: PerPair = None,
    margin: PerPair = None,
    target: PerPair = None,
    flip: PerPair = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the annotators' preferences, in nats per pair.

    With d = chosen - rejected - margin and q = (1 - flip) sigmoid(d) + flip sigmoid(-d), the probability that an
    annotator with error rate `flip` picks `chosen` (the noise model of robust DPO, Chowdhury et al. 2024):

        loss = sum(weight * -(target log q + (1 - target) log(1 - q))) / N

    `target` is 1, or 0.5 for a tie, which ignores the margin, or the mean over several answers. q is computed in log
    space, so that neither a flip of 0 nor a large |d| gives inf or NaN in the loss or its gradient. No pairs: 0.
    """
    target = torch.ones_like(chosen) if target is None else to_dtype_of(target, chosen)
    difference = chosen - rejected
    if margin is not None:
        difference = difference - torch.where(target == 0.5, 0.0, to_dtype_of(margin, chosen))
    log_q, log_not_q = logsigmoid(difference), logsigmoid(-difference)
    if flip is not None:
        wrong = to_dtype_of(flip, chosen)
        log_right, log_wrong = torch.log1p(-wrong), torch.log(wrong)
        log_q, log_not_q = (
            torch.logaddexp(log_right + log_q, log_wrong + log_not_q),
            torch.logaddexp(log_right + log_not_q, log_wrong + log_q),
        )
    losses = -(target * log_q + (1.0 - target) * log_not_q)
    if weight is not None:
        losses = losses * to_dtype_of(weight, chosen)
    return losses.sum() / max(1, len(chosen))


def to_dtype_of(values: Float[Tensor, " N"] | float, scores: Float[Tensor, " N"]) -> Float[Tensor, "..."]:
    """Convert `values` to the dtype and device of `scores` without going through float32."""
    return torch.as_tensor(values, dtype=scores.dtype, device=scores.device)
