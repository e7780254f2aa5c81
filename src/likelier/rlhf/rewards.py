"""Rewards per token: the response's score at its last token, and each token's KL penalty.

The reward of a token is r_t = s 1[t = T] - beta k(log pi(a_t|s_t) - log ref(a_t|s_t)), where s is the shaped score and
T the last token (Ziegler et al. 2019, section 2.1). Per-token scores are added at their tokens.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.ppo.kl import kl_estimate


def compute_kl_penalties(
    logprobs: Float[Tensor, "B T"],
    ref_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    kl_coef: float,
    config: PPOConfig,
) -> Float[Tensor, "B T"]:
    """Compute the KL penalty subtracted from each token's reward; 0 if the penalty is a term of the loss.

    With k1 the expected sum over a response is kl_coef * KL(pi || ref), so the optimum is ref * exp(score / kl_coef),
    renormalised. Rewards carry no gradient, so k2 and k3 have another optimum here (docs/prove.md).
    """
    if not config.penalty_in_reward:
        return torch.zeros_like(logprobs)
    # Each token pays where it is sampled, so that credit for leaving the reference goes to the token that left it.
    return kl_coef * kl_estimate(logprobs, ref_logprobs, config.kl_estimator) * mask


def split_scores(
    token_scores: Float[Tensor, "B N"] | None, factor: float, scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Float[Tensor, " B"]]:
    """Split shaped scores into per-token scores, times the shaping's `factor`, and the remainder.

    They add up to the shaped score, however it was centred, clipped or replaced; the remainder goes to the last token.
    Without `token_scores` (no source with `per: token`) the remainder is the whole score.
    """
    by_token = scores.new_zeros(mask.shape)
    if token_scores is None:
        return by_token, scores
    # The longest response may be shorter than T: its scorer knows only real tokens.
    by_token[:, : token_scores.shape[1]] = factor * token_scores.to(by_token)
    return by_token, scores - by_token.sum(1)


def add_at_last_token(
    rewards: Float[Tensor, "B T"], scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Add each score at its response's last token in `mask`: the end token, or the last before the length limit.

    A truncated response is terminal as well: its score is known, so nothing is bootstrapped.
    """
    # Not the number of tokens: between those that the policy drew may stand a tool's answers.
    last = torch.where(mask, torch.arange(mask.shape[1], device=mask.device), 0).amax(1, keepdim=True)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards))
