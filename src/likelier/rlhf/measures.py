"""Diagnostics of a rollout for the doctor: sampling, scores, repetition and explained variance."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likelier.ppo.advantages import gae
from likelier.ppo.masks import Packing, masked_mean, masked_var

Measures = dict[str, Tensor]
"""0-d tensors by the name of their metric."""


def measure_sampling(
    logprobs: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    sampler_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    prompt_mask: Bool[Tensor, "B P"],
) -> Measures:
    """Measure if tokens were sampled from the distribution that the trainer assumes.

    `logprobs` and `entropy` are the trainer's, `sampler_logprobs` the sampler's. For tokens drawn from pi the mean of
    -log pi(a) is the entropy of pi: a gap beyond its standard error means another temperature, truncated sampling, or
    stale weights.
    """
    tokens = mask.sum().clamp(min=1)
    surprise = torch.where(mask, -logprobs - entropy, 0.0)
    gap = torch.where(mask, sampler_logprobs - logprobs, 0.0)
    # Only rows without padding in their batch: a large gap elsewhere, and not here, means mishandled padding.
    unpadded = mask & prompt_mask.all(1, keepdim=True)
    return {
        "sampling_gap": surprise.sum() / tokens,
        # Given the tokens before it each term has mean 0 (a martingale), so that the squares of the errors add up.
        "sampling_gap_error": surprise.square().sum().sqrt() / tokens,
        "sampler_difference_unpadded": masked_mean(gap.abs(), unpadded),
        "sampler_kl": masked_mean(gap, mask),
    }


def measure_scores(scores: Float[Tensor, " B"], group: Int[Tensor, " B"], responses_per_prompt: int) -> Measures:
    """Shares of the highest and the lowest score; within prompts the spread, and the share of equal groups."""
    # Many responses at one end of the scale: the score is bounded and has nothing left to tell apart.
    measures = {
        "score_top_share": (scores == scores.max()).float().mean(),
        "score_bottom_share": (scores == scores.min()).float().mean(),
    }
    if responses_per_prompt > 1:
        grouped = scores[torch.argsort(group, stable=True).to(scores.device)].view(-1, responses_per_prompt)
        measures["group_score_std"] = grouped.std(1).mean()
        # A group of equal scores has no advantage: nothing is learned from its prompt.
        measures["equal_groups"] = (grouped == grouped[:, :1]).all(1).float().mean()
    return measures


def measure_tools(inserted: Bool[Tensor, "B T"]) -> Measures:
    """Answers that tools gave a response, and tokens of these; means."""
    begins = inserted & ~torch.nn.functional.pad(inserted[:, :-1], (1, 0))
    return {"tool_calls": begins.sum(1).float().mean(), "tool_tokens": inserted.sum(1).float().mean()}


def measure_repetition(tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the share of bigrams that occurred earlier in the same response; 0 without bigrams."""
    real = mask[:, 1:]
    bigrams = tokens[:, :-1] * (int(tokens.max()) + 1) + tokens[:, 1:]
    # Sorted, equal bigrams are neighbours; all but the first of each run are repetitions. Padding (-1) comes first.
    ordered = torch.where(real, bigrams, -1).sort(1).values
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return repeated.sum() / real.sum().clamp(min=1)


def monte_carlo_explained_variance(
    values: Float[Tensor, "B T"], rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float
) -> Float[Tensor, ""]:
    """1 - Var(G - V) / Var(G) with G_t = r_t + gamma G_{t+1}: how well the critic predicts the actual returns.

    The update's `explained_variance` uses GAE's returns A + V, which contain the values, so that even a useless critic
    explains them well. G contains only rewards. 0 if G does not vary.
    """
    packing = Packing(mask)
    values, rewards, mask = (packing.pack(each) for each in (values, rewards, mask))
    # GAE with lambda 1 and values of 0 is the discounted sum of rewards.
    no_values = torch.zeros_like(rewards)
    returns, _ = gae(rewards, no_values, no_values, torch.ones_like(rewards), gamma, 1.0)
    variance, unexplained = masked_var(returns, mask), masked_var(returns - values, mask)
    return torch.where(variance > 0, 1 - unexplained / variance.clamp(min=torch.finfo(variance.dtype).tiny), 0.0)
