"""Rewards per token: the score of a response at its last token, and each token's KL penalty.

The reward of a token is r_t = s 1[t = T] - beta k(log pi(a_t|s_t) - log ref(a_t|s_t)), where s is the shaped score and
T the last token (Ziegler et al. 2019, section 2.1). Scores of single tokens stand at their tokens.
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

    With k1 the expected sum over a response is kl_coef * KL(pi || ref), so that the optimum is ref * exp(score /
    kl_coef), renormalised. Advantages treat it as a constant: k2 and k3 here have another optimum (docs/prove.md).
    """
    if not config.penalty_in_reward:
        return torch.zeros_like(logprobs)
    # Each token pays where it is sampled, so that credit for leaving the reference goes to the token that left it.
    return kl_coef * kl_estimate(logprobs, ref_logprobs, config.kl_estimator) * mask


def split_scores(
    token_scores: Float[Tensor, "B N"] | None, factor: float, scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Float[Tensor, " B"]]:
    """Split shaped scores into the parts of single tokens, times the `factor` of the shaping, and the remainder.

    Together they are the shaped score, whatever was centred, clipped or replaced, so that no shaping is lost: the
    remainder belongs at the last token. Without `token_scores` (no source with `per: token`) it is the whole score.
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
    """Add each score at the last token of its response: the end token, or where it was cut.

    A response that was cut at the length limit is terminal as well: its score is known, nothing is bootstrapped.
    """
    last = mask.sum(1, keepdim=True) - 1
    return rewards.scatter_add(1, last, scores[:, None].to(rewards))
