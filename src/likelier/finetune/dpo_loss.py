"""The loss of direct preference optimisation."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from likelier.reward.loss import AnswerIntervals, mix_careless, strength_log_likelihood, to_dtype_of

PerPair = Float[Tensor, " N"] | float


def dpo_loss(  # noqa: PLR0913  # formulas take plain numbers
    chosen_logprobs: Float[Tensor, " N"],
    rejected_logprobs: Float[Tensor, " N"],
    ref_chosen_logprobs: Float[Tensor, " N"],
    ref_rejected_logprobs: Float[Tensor, " N"],
    beta: float,
    target: PerPair = 1.0,
    weight: PerPair = 1.0,
    noise: tuple[PerPair, PerPair] | None = None,
    intervals: AnswerIntervals | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Mean of weight * -(target log sigmoid(d) + (1 - target) log sigmoid(-d)) over pairs (Rafailov et al. 2023).

    d = beta (log pi(chosen) / ref(chosen) - log pi(rejected) / ref(rejected)), log-probabilities of whole responses.
    `target` is the probability that people prefer `chosen`: 1 in the paper, 0.5 for a tie, 1 - epsilon for label
    smoothing. If it is sigmoid(r(chosen) - r(rejected)) and the pairs connect all responses, the minimum is at pi* ∝
    ref exp(r / beta). `noise`: `flip` and `guess` of careless answers, which the likelihood expects as in
    `preference_loss`, so that they do not shrink d; None: there are none. `intervals`: of answers that say how
    much better, whose likelihood is as there. No pairs: 0.
    """
    # The implicit reward of Rafailov et al. 2023, eq. 5, without beta log Z, which cancels within a pair.
    chosen = beta * (chosen_logprobs - ref_chosen_logprobs)
    rejected = beta * (rejected_logprobs - ref_rejected_logprobs)
    likely = torch.as_tensor(target, dtype=chosen.dtype, device=chosen.device)
    # logsigmoid and not log(sigmoid): the latter is -inf from a margin of -104 on in float32.
    log_q, log_not_q = logsigmoid(chosen - rejected), logsigmoid(rejected - chosen)
    if noise is not None:
        log_q, log_not_q = mix_careless(log_q, log_not_q, to_dtype_of(noise[0], chosen), noise[1])
    losses = -(likely * log_q + (1 - likely) * log_not_q)
    if intervals is not None:
        said = strength_log_likelihood(chosen - rejected, intervals, 0.0 if noise is None else noise[0])
        losses = torch.where(intervals.has_strength, -said, losses)
    # Divided by pairs, not by weights: a pair of weight 2 counts as two.
    loss = (torch.as_tensor(weight, dtype=chosen.dtype, device=chosen.device) * losses).sum() / max(1, len(chosen))
    return loss, dpo_stats(chosen.detach(), rejected.detach())


def dpo_stats(chosen: Float[Tensor, " N"], rejected: Float[Tensor, " N"]) -> dict[str, Tensor]:
    """Mean implicit rewards beta log(pi / ref), and the share of pairs whose chosen response has the higher one."""
    count = max(1, len(chosen))
    return {
        "rewards/chosen": chosen.sum() / count,
        "rewards/rejected": rejected.sum() / count,
        "rewards/margins": (chosen - rejected).sum() / count,
        "rewards/accuracies": (chosen > rejected).sum() / count,
    }
