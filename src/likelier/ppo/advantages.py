"""How much better an action was than expected: by a critic (GAE), or by other responses to the same prompt."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likelier.ppo.masks import masked_whiten


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    next_values: Float[Tensor, "B T"],
    continues: Float[Tensor, "B T"],
    gamma: float,
    lam: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation (Schulman et al. 2016): (advantages, returns).

    delta_t = r_t + gamma * next_values_t - values_t
    A_t     = delta_t + gamma * lam * continues_t * A_{t+1},   returns = A + values

    `next_values` is 0 where an episode terminated and V(final state) where it was truncated; `continues` is 0 at both,
    1 elsewhere. There is no mask: padding holds zeros.
    """
    deltas = rewards + gamma * next_values - values
    carry = gamma * lam * continues
    advantages, ahead = [], deltas.new_zeros(len(deltas))
    for delta, carried in zip(reversed(deltas.unbind(1)), reversed(carry.unbind(1)), strict=True):
        ahead = torch.addcmul(delta, carried, ahead)
        advantages.append(ahead)
    whole = torch.stack(advantages[::-1], 1) if advantages else deltas
    return whole, whole + values


def leave_one_out(scores: Float[Tensor, "G K"]) -> Float[Tensor, "G K"]:
    """Score minus the mean of the other responses to the prompt (RLOO; Ahmadian et al. 2024); equal scores: exactly 0.

    ValueError: fewer than 2 responses to a prompt.
    """
    num = need_others(scores)
    return centred(scores) * num / (num - 1)


def group_normalised(scores: Float[Tensor, "G K"], eps: float = 1e-4, std: bool = True) -> Float[Tensor, "G K"]:
    """(score - mean) / (std + eps) within each prompt, std with ddof 1 (GRPO; Shao et al. 2024); `std=False`: Dr. GRPO.

    A group of equal scores gives exactly 0. ValueError: fewer than 2 responses to a prompt.
    """
    need_others(scores)
    above = centred(scores)
    return above / (scores.std(1, keepdim=True) + eps) if std else above


def centred(scores: Float[Tensor, "G K"]) -> Float[Tensor, "G K"]:
    """Score minus the mean of its group, by distances from the first: those of equal scores are 0, rounded or not."""
    beyond = scores - scores[:, :1]
    return beyond - beyond.mean(1, keepdim=True)


def need_others(scores: Tensor) -> int:
    num = scores.shape[1]
    if num < 2:
        raise ValueError(f"needs at least 2 responses to each prompt, got {num}; raise responses_per_prompt")
    return num


def reinforce_pp(rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float = 1.0) -> Float[Tensor, "B T"]:
    """Per-token return to go, whitened over the whole batch (REINFORCE++; Hu 2025); 0 outside the mask."""
    kept = torch.where(mask, rewards, 0.0)
    to_go = torch.empty_like(kept)
    ahead = kept.new_zeros(len(kept))
    for t in reversed(range(kept.shape[1])):
        ahead = kept[:, t] + gamma * ahead
        to_go[:, t] = ahead
    return masked_whiten(to_go, mask)
