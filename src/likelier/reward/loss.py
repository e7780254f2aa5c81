"""The loss of a reward model: Bradley-Terry with weights, ties, margins, strengths and careless answers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

PerPair = Float[Tensor, " N"] | float | None


class AnswerIntervals(NamedTuple):
    """Intervals of the log-odds of answers that say how much better a side is, [N] each; as in `Preference`."""

    lower: Float[Tensor, " N"]
    upper: Float[Tensor, " N"]
    """Infinite for the strongest answer; from 0 to infinity is an answer without a strength."""
    chance: Float[Tensor, " N"]
    """Probability that an answer that ignores the pair is this one."""

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[float, float, float]], scores: Tensor) -> "AnswerIntervals | None":
        """Return the intervals of pairs in the dtype and on the device of `scores`; None if none has a strength."""
        intervals = cls(*scores.new_tensor(rows).view(-1, 3).T)
        return intervals if intervals.has_strength.any() else None

    @property
    def has_strength(self) -> Tensor:
        """True for answers with a strength, [N]."""
        return (self.lower != 0) | self.upper.isfinite()


def preference_loss(
    chosen: Float[Tensor, " N"],
    rejected: Float[Tensor, " N"],
    weight: PerPair = None,
    margin: PerPair = None,
    target: PerPair = None,
    flip: PerPair = None,
    guess: PerPair = None,
    intervals: AnswerIntervals | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the annotators' preferences, in nats per pair.

    With d = chosen - rejected - margin and q = (1 - flip) sigmoid(d) + flip sigmoid(-d), the probability that an
    annotator picks `chosen` of whose answers a share of 2 flip ignores the pair (the noise model of robust DPO,
    Chowdhury et al. 2024):

        loss = sum(weight * -(target log q + (1 - target) log(1 - q))) / N

    `guess`, 1/2 by default, is the probability that an answer that ignores the pair is `chosen`; where it is not 1/2,
    q = (1 - 2 flip) sigmoid(d) + 2 flip guess, and flips above 1/2 count as 1/2.
    An answer with a strength has the likelihood of `strength_log_likelihood` instead, whatever its target and guess.
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
    if intervals is not None:
        graded = strength_log_likelihood(difference, intervals, 0.0 if flip is None else flip)
        losses = torch.where(intervals.has_strength, -graded, losses)
    if weight is not None:
        losses = losses * to_dtype_of(weight, chosen)
    return losses.sum() / max(1, len(chosen))


def strength_log_likelihood(
    difference: Float[Tensor, " N"], intervals: AnswerIntervals, flip: Float[Tensor, " N"] | float
) -> Float[Tensor, " N"]:
    """Log of (1 - c) (sigmoid(d - lower) - sigmoid(d - upper)) + c chance, with a careless share c = 1 - |1 - 2 flip|.

    Flips above 1/2 are of people who answer the reverse: theirs is the interval from -upper to -lower. In log space,
    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)), so that no difference gives inf or NaN.
    """
    flip = to_dtype_of(flip, difference)
    is_turned = flip > 0.5
    lower = torch.where(is_turned, -intervals.upper, intervals.lower)
    upper = torch.where(is_turned, -intervals.lower, intervals.upper)
    read = logsigmoid(difference - lower) + logsigmoid(upper - difference) + torch.log(-torch.expm1(lower - upper))
    careless = 1 - (1 - 2 * flip).abs()
    return torch.logaddexp(torch.log1p(-careless) + read, torch.log(careless * intervals.chance))


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
