"""Advantages: by a critic (GAE), or relative to other responses to the same prompt.

First the formulas, then one function per algorithm of ppo/algorithms.py that applies them to a rollout.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likelier.config import PPOConfig
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.masks import Packing, has_gaps, masked_whiten


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    next_values: Float[Tensor, "B T"],
    continues: Float[Tensor, "B T"],
    gamma: float,
    lam: float | Float[Tensor, "B 1"],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation (Schulman et al. 2016): (advantages, returns).

    delta_t = r_t + gamma * next_values_t - values_t
    A_t     = delta_t + gamma * lam * continues_t * A_{t+1},   returns = A + values

    `next_values` is 0 where an episode terminated and V(final state) where it was truncated; `continues` is 0 at both,
    1 elsewhere. There is no mask: padding holds zeros. `lam` may be one for each row.
    """
    deltas = rewards + gamma * next_values - values  # TD errors, [B, T]
    # lambda trades bias for variance: 0 is one-step TD with all bias of the critic, 1 the Monte-Carlo return.
    # `continues` cuts the recursion at the end of an episode, whether it terminated or was truncated.
    carry = gamma * lam * continues
    advantages, ahead = [], deltas.new_zeros(len(deltas))
    # Backwards in time, one addcmul a step: a closed form as a matrix product needs T^2 powers of gamma * lam.
    for delta, carried in zip(reversed(deltas.unbind(1)), reversed(carry.unbind(1)), strict=True):
        ahead = torch.addcmul(delta, carried, ahead)
        advantages.append(ahead)
    stacked = torch.stack(advantages[::-1], 1) if advantages else deltas
    return stacked, stacked + values


def leave_one_out(scores: Float[Tensor, "G K"]) -> Float[Tensor, "G K"]:
    """Score minus the mean score of the other responses to the prompt (RLOO; Ahmadian et al. 2024).

    Equal scores give exactly 0. ValueError: fewer than 2 responses to a prompt.
    """
    num = check_group_size(scores)
    # s - mean of the others = (s - mean of all) * K / (K - 1): the baseline is independent of s, so it adds no bias.
    return centre_groups(scores) * num / (num - 1)


def group_normalised(scores: Float[Tensor, "G K"], eps: float = 1e-4, std: bool = True) -> Float[Tensor, "G K"]:
    """(score - mean) / (std + eps) within each prompt, std with ddof 1 (GRPO; Shao et al. 2024); `std=False`: Dr. GRPO.

    A group of equal scores gives exactly 0. ValueError: fewer than 2 responses to a prompt.
    """
    check_group_size(scores)
    # Dividing by the spread weighs prompts whose responses are nearly alike up; Liu et al. 2025 (Dr. GRPO, section 3)
    # leave it out. eps is TRL's and far above rounding, so that a spread of rounding errors is no signal.
    above = centre_groups(scores)
    return above / (scores.std(1, keepdim=True) + eps) if std else above


def centre_groups(scores: Float[Tensor, "G K"]) -> Float[Tensor, "G K"]:
    """Score minus its group's mean, computed from differences to the first score, so equal scores give exactly 0."""
    # The mean of equal numbers may round to a neighbour of theirs; differences from the first are exactly 0.
    beyond = scores - scores[:, :1]
    return beyond - beyond.mean(1, keepdim=True)


def check_group_size(scores: Tensor) -> int:
    """Return the group size. ValueError: below 2, since the baseline is the mean of the others."""
    num = scores.shape[1]
    if num < 2:
        raise ValueError(f"needs at least 2 responses to each prompt, got {num}; raise responses_per_prompt")
    return num


def reinforce_pp(rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float = 1.0) -> Float[Tensor, "B T"]:
    """Per-token return-to-go, whitened over the whole batch (REINFORCE++; Hu 2025); 0 outside the mask."""
    masked_rewards = torch.where(mask, rewards, 0.0)
    # REINFORCE with the return to go; the batch-wide whitening below takes the place of a critic or a group.
    to_go = torch.empty_like(masked_rewards)
    ahead = masked_rewards.new_zeros(len(masked_rewards))
    for t in reversed(range(masked_rewards.shape[1])):
        ahead = masked_rewards[:, t] + gamma * ahead
        to_go[:, t] = ahead
    return masked_whiten(to_go, mask)


@dataclass(frozen=True)
class AdvantageInputs:
    """A rollout of text: the inputs of advantage functions."""

    rewards: Float[Tensor, "B T"]
    """The score stands at the last token; each token has paid its KL penalty if that is part of the reward."""
    mask: Bool[Tensor, "B T"]
    """True at the tokens that the policy drew; between them may stand a tool's answers."""
    prompts: Int[Tensor, " B"]
    """Number of the prompt that each row answers."""
    values: Float[Tensor, "B T"] | None
    """Of the critic, before each token."""
    config: PPOConfig

    def compare_with_group(
        self, formula: Callable[[Float[Tensor, "G K"]], Float[Tensor, "G K"]]
    ) -> Float[Tensor, "B T"]:
        """Apply `formula` to the rewards of whole responses, [prompts, K]; all tokens of a response get its result."""
        by_prompt = torch.argsort(self.prompts, stable=True)
        # The update shuffles rows, so that those of a prompt are sorted together here and put back below.
        totals = self.rewards.sum(1)
        compared = formula(totals[by_prompt].view(-1, self.config.responses_per_prompt))
        advantages = torch.empty_like(totals)
        advantages[by_prompt] = compared.flatten()
        return advantages[:, None] * self.mask


Advantages = tuple[Float[Tensor, "B T"], Float[Tensor, "B T"] | None]
"""Advantages and returns, 0 outside the mask; no returns without a critic."""


def compute_advantages(inputs: AdvantageInputs) -> Advantages:
    """Advantages and returns by the configured algorithm, whitened over the batch if `whiten_advantages`."""
    if has_gaps(inputs.mask):
        return compute_across_gaps(inputs)
    advantages, returns = ALGORITHMS[inputs.config.algorithm].load_advantages()(inputs)
    if inputs.config.whiten_advantages:
        # Over the whole batch, before it is cut: by minibatch the same response would have another advantage in each.
        advantages = masked_whiten(advantages, inputs.mask)
    return advantages, returns


def compute_across_gaps(inputs: AdvantageInputs) -> Advantages:
    """The same where a policy read tokens between its actions: the next action's value follows this one's."""
    packing = Packing(inputs.mask)
    rewards, mask = packing.pack(inputs.rewards), packing.pack(inputs.mask)
    values = None if inputs.values is None else packing.pack(inputs.values)
    advantages, returns = compute_advantages(replace(inputs, rewards=rewards, mask=mask, values=values))
    return packing.unpack(advantages), None if returns is None else packing.unpack(returns)


def critic_advantages(inputs: AdvantageInputs) -> Advantages:
    """GAE over the tokens of each response; the last token is terminal, even at the length limit."""
    rewards, values, mask, config = inputs.rewards, inputs.values, inputs.mask, inputs.config
    assert values is not None, "there is no critic"
    if config.whiten_rewards:
        # Only scaled: taking the mean off would pay or punish length (Huang et al. 2024, N+ details).
        rewards = masked_whiten(rewards, mask, shift_mean=False)
    # A response cut at the length limit has received its score: it is terminal, nothing is bootstrapped.
    next_mask = torch.nn.functional.pad(mask[:, 1:], (0, 1))
    next_values = torch.nn.functional.pad(values[:, 1:], (0, 1)) * next_mask
    path = rewards, values, next_values, next_mask.to(rewards), config.gamma
    advantages, returns = gae(*path, choose_lam(mask, config))
    if config.critic_lam is not None or config.lam_by_length is not None:
        _, returns = gae(*path, config.lam if config.critic_lam is None else config.critic_lam)
    return advantages, returns


def choose_lam(mask: Bool[Tensor, "B T"], config: PPOConfig) -> float | Float[Tensor, "B 1"]:
    """Return lambda of the advantages: one for all, or by length 1 - 1 / (alpha length) (Yue et al. 2025, "VAPO").

    A reward at the end then reaches the first token of a long response as it does that of a short one: lambda to the
    power of the length tends to exp(-1 / alpha).
    """
    if config.lam_by_length is None:
        return config.lam
    lengths = mask.sum(1, keepdim=True).clamp(min=1)
    return (1 - 1 / (config.lam_by_length * lengths)).clamp(min=0)


def rloo_advantages(inputs: AdvantageInputs) -> Advantages:
    """Leave-one-out baseline; no returns."""
    return inputs.compare_with_group(leave_one_out), None


def grpo_advantages(inputs: AdvantageInputs) -> Advantages:
    """Group-normalised; no returns."""
    return inputs.compare_with_group(group_normalised), None


def dr_grpo_advantages(inputs: AdvantageInputs) -> Advantages:
    """Group-centred; no returns."""
    return inputs.compare_with_group(lambda scores: group_normalised(scores, std=False)), None


def reinforce_pp_advantages(inputs: AdvantageInputs) -> Advantages:
    """Whitened return-to-go; no returns."""
    return reinforce_pp(inputs.rewards, inputs.mask, inputs.config.gamma), None
