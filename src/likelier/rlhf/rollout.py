"""Rollouts: prompts to responses, responses to scores, scores to rewards, rewards to the batch of one PPO update."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import PPOConfig
from likelier.ppo.advantages import AdvantageInputs, compute_advantages
from likelier.ppo.batch import Batch
from likelier.ppo.kl import clamped_share, kl_estimate
from likelier.ppo.masks import masked_var, masked_whiten
from likelier.records import Prompt
from likelier.reward.responses import Judged
from likelier.reward.sources import Scorer, judge
from likelier.rlhf.measures import Measured, explained_by, repetition, score_measures
from likelier.rlhf.old_logprobs import BehaviourPolicy, behaviour_logprobs
from likelier.rlhf.scores import Shaper, penalise_missing_end
from likelier.text.logprobs import TextPolicy, reference_logprobs
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms
from likelier.training.setup import Clock


@dataclass(frozen=True)
class Actors:
    """Who takes part in a rollout."""

    policy: TextPolicy
    reference: PreTrainedModel
    """The frozen start."""
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    """Writes the responses; the loop gives it the policy's weights before each rollout."""
    scorer: Scorer
    shaper: Shaper


@dataclass(frozen=True)
class Rollout:
    """What one step sampled: the batch for the update, and what people want to know of it."""

    batch: Batch
    prompts: list[Prompt]
    samples: Samples
    scores: Float[Tensor, " B"]
    """Score of each response in the units of its sources, a missing end punished."""
    shaped_scores: Float[Tensor, " B"]
    """The same after rlhf/scores.py: what reward is made of."""
    rewards: Float[Tensor, " B"]
    """Shaped score minus KL penalty, where that is in the reward, summed over each response."""
    kl: Float[Tensor, " B"]
    """KL from the reference in nats per response (k1: the mean is unbiased, one response may be negative)."""
    judged: Judged
    """The unweighted scores of each source, and what reward functions logged."""
    old: BehaviourPolicy
    measured: Measured
    """What else the doctor wants to know."""

    def stats(self) -> dict[str, float]:
        """Means over responses, under the names of the metrics."""
        length = self.batch.mask.sum(1).float()
        means = {
            "score": self.scores.mean(),
            "score_std": self.scores.std(unbiased=False),
            "shaped_score": self.shaped_scores.mean(),
            "reward": self.rewards.mean(),
            "kl": self.kl.mean(),
            "kl_std": self.kl.std(unbiased=False),
            "response_length": length.mean(),
            "ended_rate": torch.tensor([reason != "length" for reason in self.samples.stop_reasons]).float().mean(),
        }
        means |= {"sampler_difference": self.old.difference, "sampler_difference_max": self.old.largest}
        means |= {f"score/{name}": self.judged.scored_by(name).mean() for name in self.judged.by_source}
        means |= {f"logged/{name}": torch.tensor(value) for name, value in self.judged.logged.metrics.items()}
        return {name: float(value) for name, value in (means | self.measured).items()}


def sample_rollouts(
    actors: Actors,
    prompts: Sequence[Prompt],
    config: PPOConfig,
    kl_coef: float,
    generator: torch.Generator,
    clock: Clock,
) -> Rollout:
    """`responses_per_prompt` responses to each of `prompts`, scored, as one batch of `batch_size` rows.

    Rows are in random order, so that the update's first pass, which takes them as they come, is shuffled too.
    """
    group = shuffled_groups(len(prompts), config.responses_per_prompt, generator)
    asked = [prompts[at] for at in group.tolist()]
    draws = draw_uniforms(generator, len(asked), config.response_length, actors.policy.device)
    samples = actors.sampler.sample([prompt.text for prompt in asked], Sampling.from_config(config), draws)
    inputs = {"prompt_tokens": samples.prompt_tokens, "prompt_mask": samples.prompt_mask}
    mask = samples.mask
    clock.lap("sample")

    old = behaviour_logprobs(actors.policy, inputs, samples, config)
    clock.lap("old_logprobs")
    ref_logprobs = reference_logprobs(actors.reference, samples, config)
    clock.lap("reference")
    judged = judge(actors.scorer, actors.tokenizer, asked, samples)
    scores = actors.scorer.combine(judged).to(mask.device)
    shaped_scores, factor = actors.shaper(scores)
    unpunished = shaped_scores
    scores, shaped_scores = (
        penalise_missing_end(each, samples.stop_reasons, config.missing_eos_penalty, config.missing_eos_score)
        for each in (scores, shaped_scores)
    )

    penalty = penalties(old.logprobs, ref_logprobs, mask, kl_coef, config)
    along, rest = at_tokens(judged.at_tokens, factor, shaped_scores, mask)
    rewards = place_scores(along - penalty, rest, mask)
    advantages, returns = compute_advantages(AdvantageInputs(rewards, mask, group, old.values, config))
    if old.weights is not None:
        advantages = advantages * old.weights
    measured = old.sampling | score_measures(scores, group, config.responses_per_prompt)
    measured |= training_measures(samples, rewards, old.values, advantages, config)
    measured["unpunished_std"] = unpunished.std(unbiased=False)
    measured["ref_log_ratio_clamped"] = clamped_share(old.logprobs, ref_logprobs, mask)
    in_loss = None if config.kl_place == "reward" else ref_logprobs
    return Rollout(
        batch=Batch(inputs, samples.tokens, mask, old.logprobs, old.values, advantages, returns, in_loss),
        prompts=asked,
        samples=samples,
        scores=scores,
        shaped_scores=shaped_scores,
        rewards=rewards.sum(1),
        kl=((old.logprobs - ref_logprobs) * mask).sum(1),
        judged=judged,
        old=old,
        measured=measured,
    )


def training_measures(
    samples: Samples,
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"] | None,
    advantages: Float[Tensor, "B T"],
    config: PPOConfig,
) -> Measured:
    """What the update is about to learn from: repeating responses, advantages, values beside what truly followed."""
    mask = samples.mask
    found = {"repetition": repetition(samples.tokens, mask), "advantage_std": masked_var(advantages, mask).sqrt()}
    if values is not None:
        scaled = masked_whiten(rewards, mask, shift_mean=False) if config.whiten_rewards else rewards
        found["explained_variance_mc"] = explained_by(values, scaled, mask, config.gamma)
    return found


def at_tokens(
    values: Float[Tensor, "B N"] | None, factor: float, scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Float[Tensor, " B"]]:
    """Part a score: what stands at its own tokens (values times the factor of the shaping), and the rest of it.

    Both together are the score, whatever was centred, clipped or replaced: the rest stands at the last token.
    """
    along = scores.new_zeros(mask.shape)
    if values is None:
        return along, scores
    along[:, : values.shape[1]] = factor * values.to(along)
    return along, scores - along.sum(1)


def shuffled_groups(num_prompts: int, responses_per_prompt: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """Which prompt each row answers, in random order."""
    group = torch.arange(num_prompts).repeat_interleave(responses_per_prompt)
    return group[torch.randperm(len(group), generator=generator, device=generator.device).cpu()]


def penalties(
    logprobs: Float[Tensor, "B T"],
    ref_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    kl_coef: float,
    config: PPOConfig,
) -> Float[Tensor, "B T"]:
    """What each token pays for its distance from the reference; nothing where the loss takes care of that."""
    if config.kl_place != "reward":
        return torch.zeros_like(logprobs)
    return kl_coef * kl_estimate(logprobs, ref_logprobs, config.kl_estimator) * mask


def place_scores(
    penalties: Float[Tensor, "B T"], scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Add each score at the last token of its response (the end token, where there is one)."""
    last = mask.sum(1, keepdim=True) - 1
    return penalties.scatter_add(1, last, scores[:, None].to(penalties))
