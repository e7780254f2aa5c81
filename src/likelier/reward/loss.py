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
    guess: PerPair = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the annotators' preferences, in nats per pair.

    With d = chosen - rejected - margin and q = (1 - flip) sigmoid(d) + flip sigmoid(-d), the probability that an
    annotator picks `chosen` of whose answers a share of 2 flip ignores the pair (the noise model of robust DPO,
    Chowdhury et al. 2024):

        loss = sum(weight * -(target log q + (1 - target) log(1 - q))) / N

    `guess`, 1/2 by default, is the probability that an answer that ignores the pair is `chosen`; where it is not 1/2,
    q = (1 - 2 flip) sigmoid(d) + 2 flip guess, and flips above 1/2 count as 1/2.
    `target` is 1, or 0.5 for a tie, which ignores the margin, or the mean over several answers. q is computed in log
    space, so that neither a flip of 0 nor a large |d| gives inf or NaN in the loss or its gradient. No pairs: 0.
    """
    target = torch.ones_like(chosen) if target is None else to_dtype_of(target, chosen)
    difference = chosen - rejected
    if margin is not None:
        difference = difference - torch.where(target == 0.5, 0.0, to_dtype_of(margin, chosen))
    log_q, log_not_q = logsigmoid(difference), logsigmoid(-difference)
    if flip is not None:
        log_q, log_not_q = mix_careless(log_q, log_not_q, to_dtype_of(flip, chosen), guess)
    losses = -(target * log_q + (1.0 - target) * log_not_q)
    if weight is not None:
        losses = losses * to_dtype_of(weight, chosen)
    return losses.sum() / max(1, len(chosen))


def mix_careless(
    log_q: Float[Tensor, " N"], log_not_q: Float[Tensor, " N"], flip: Float[Tensor, "..."], guess: PerPair = None
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probabilities of `chosen` and of `rejected` with careless answers among them; see `preference_loss`."""
    log_right, log_wrong = torch.log1p(-flip), torch.log(flip)
    mixed = (
        torch.logaddexp(log_right + log_q, log_wrong + log_not_q),
        torch.logaddexp(log_right + log_not_q, log_wrong + log_q),
    )
    if guess is None:
        return mixed
    chance, careless = to_dtype_of(guess, log_q), (2 * flip).clamp(max=1.0)
    log_read = torch.log1p(-careless)
    leaning = (
        torch.logaddexp(log_read + log_q, torch.log(careless * chance)),
        torch.logaddexp(log_read + log_not_q, torch.log(careless * (1 - chance))),
    )
    return torch.where(chance == 0.5, mixed[0], leaning[0]), torch.where(chance == 0.5, mixed[1], leaning[1])


def to_dtype_of(values: Float[Tensor, " N"] | float, scores: Float[Tensor, " N"]) -> Float[Tensor, "..."]:
    """Convert `values` to the dtype and device of `scores` without going through float32."""
    return torch.as_tensor(values, dtype=scores.dtype, device=scores.device)
