"""What a rollout shows beside its means: whether the numbers it rests on can be true. The doctor reads them."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likelier.ppo.advantages import gae
from likelier.ppo.masks import masked_mean, masked_var

Measured = dict[str, Tensor]


def sampling_measures(
    own: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    sampler: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    prompt_mask: Bool[Tensor, "B P"],
) -> Measured:
    """Whether tokens were drawn from the distribution that the trainer takes them to come from.

    `own` and `entropy` are the trainer's, `sampler` are the log-probabilities they were drawn with. For tokens drawn
    from pi, -log pi(a) is the entropy of pi on average, whatever pi is; the errors of a sequence are a martingale, so
    their squares add up.
    """
    tokens = mask.sum().clamp(min=1)
    surprise = torch.where(mask, -own - entropy, 0.0)
    apart = torch.where(mask, sampler - own, 0.0)
    unpadded = mask & prompt_mask.all(1, keepdim=True)
    return {
        "sampling_gap": surprise.sum() / tokens,
        "sampling_gap_error": surprise.square().sum().sqrt() / tokens,
        "sampler_difference_unpadded": masked_mean(apart.abs(), unpadded),
        "sampler_kl": masked_mean(apart, mask),
    }


def score_measures(scores: Float[Tensor, " B"], group: Int[Tensor, " B"], responses_per_prompt: int) -> Measured:
    """Whether the scores tell responses apart, and those to one prompt."""
    found = {
        "score_top_share": (scores == scores.max()).float().mean(),
        "score_bottom_share": (scores == scores.min()).float().mean(),
    }
    if responses_per_prompt > 1:
        grouped = scores[torch.argsort(group, stable=True).to(scores.device)].view(-1, responses_per_prompt)
        found["group_score_std"] = grouped.std(1).mean()
        found["equal_groups"] = (grouped == grouped[:, :1]).all(1).float().mean()
    return found


def repetition(tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Share of pairs of neighbouring tokens that stood in the same response before; 0 without pairs."""
    real = mask[:, 1:]
    pairs = tokens[:, :-1] * (int(tokens.max()) + 1) + tokens[:, 1:]
    ordered = torch.where(real, pairs, -1).sort(1).values
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return repeated.sum() / real.sum().clamp(min=1)


def explained_by(
    values: Float[Tensor, "B T"], rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float
) -> Float[Tensor, ""]:
    """1 - Var(G - V) / Var(G) with G_t = r_t + gamma G_{t+1}: how well values foresee what truly followed.

    Returns of GAE hold the values themselves, so a critic may explain them and know nothing; G is only rewards.
    """
    nothing = torch.zeros_like(rewards)
    returns, _ = gae(rewards, nothing, nothing, torch.ones_like(rewards), gamma, 1.0)
    spread, unexplained = masked_var(returns, mask), masked_var(returns - values, mask)
    return torch.where(spread > 0, 1 - unexplained / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0.0)
