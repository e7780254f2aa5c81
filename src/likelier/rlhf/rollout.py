"""Rollouts: score sampled responses, compute rewards, and build the batch of one PPO update."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import PPOConfig
from likelier.ppo.advantages import AdvantageInputs, compute_advantages
from likelier.ppo.batch import Batch, minibatches, order_by_length
from likelier.ppo.kl import clamped_share
from likelier.ppo.masks import masked_var, masked_whiten
from likelier.records import Prompt
from likelier.reward.responses import JudgedBatch
from likelier.reward.sources import Scorer, judge
from likelier.rlhf.measures import (
    Measures,
    measure_repetition,
    measure_scores,
    measure_tools,
    monte_carlo_explained_variance,
)
from likelier.rlhf.old_logprobs import BehaviourPolicy, behaviour_logprobs
from likelier.rlhf.responses import Responses
from likelier.rlhf.rewards import add_at_last_token, compute_kl_penalties, split_scores
from likelier.rlhf.scores import Shaper, penalise_missing_end
from likelier.text.adapters import FrozenModels
from likelier.text.logprobs import compute_sample_logprobs
from likelier.text.policy import TextPolicy
from likelier.text.sampler import Sampler, Samples, join_samples
from likelier.training.offload import Offload
from likelier.training.setup import Clock


@dataclass(frozen=True)
class Actors:
    """The models and functions that a rollout needs."""

    policy: TextPolicy
    """The model in training, with its critic where the algorithm has one."""
    reference: PreTrainedModel
    """The frozen start, which the KL is measured from."""
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    """Writes the responses; it is given the policy's weights before each rollout."""
    scorer: Scorer
    shaper: Shaper
    frozen: FrozenModels = FrozenModels()  # noqa: RUF009 - frozen
    """Models in memory on which reward models that are adapters stand, and how others are stored."""
    offload: Offload = field(default_factory=Offload)
    """Which models wait on the CPU: `reference`, and `scores`, those of rewards."""


@dataclass(frozen=True)
class ScoredResponses:
    """The scores of sampled responses, before and after shaping."""

    judged: JudgedBatch
    """The unweighted scores of each source, and what reward functions logged."""
    scores: Float[Tensor, " B"]
    """In the units of the reward sources, with the penalty of a missing end."""
    shaped: Float[Tensor, " B"]
    """After rlhf/scores.py; rewards are made of these."""
    factor: float
    """By which the shaping multiplied."""
    unpunished_std: Float[Tensor, ""]
    """Standard deviation of the shaped scores without the penalty of a missing end."""


@dataclass(frozen=True)
class Rollout:
    """The responses of one step: the batch for the update, and scores, rewards and KL for the logs."""

    batch: Batch
    prompts: list[Prompt]
    samples: Samples
    scored: ScoredResponses
    rewards: Float[Tensor, "B T"]
    """Of each token: its KL penalty, if that is part of the reward, and the shaped score where it is paid."""
    ref_logprobs: Float[Tensor, "B T"]
    kl: Float[Tensor, " B"]
    """KL from the reference in nats per response (k1: the mean is unbiased, one response may be negative)."""
    behaviour: BehaviourPolicy
    measures: Measures
    """Metrics that only the doctor reads."""

    def stats(self) -> dict[str, float]:
        """Means over responses, under the names of the metrics."""
        length, scores, judged = self.batch.mask.sum(1).float(), self.scored.scores, self.scored.judged
        # Population standard deviations: a batch is not an estimate of itself, and one response has spread 0.
        means = {
            "score": scores.mean(),
            "score_std": scores.std(unbiased=False),
            "shaped_score": self.scored.shaped.mean(),
            "reward": self.rewards.sum(1).mean(),
            "kl": self.kl.mean(),
            "kl_std": self.kl.std(unbiased=False),
            "response_length": length.mean(),
            "ended_rate": torch.tensor([reason != "length" for reason in self.samples.stop_reasons]).float().mean(),
        }
        means |= {"sampler_difference": self.behaviour.mean_gap, "sampler_difference_max": self.behaviour.max_gap}
        means |= {f"score/{name}": judged.scored_by(name).mean() for name in judged.by_source}
        means |= {
            f"disagreement/{name}": scores.disagreement.mean()
            for name, scores in judged.by_source.items()
            if scores.disagreement is not None
        }
        means |= {
            f"{sign}/{name}": values.mean()
            for name, scores in judged.by_source.items()
            for sign, values in scores.signs.items()
        }
        means |= {f"logged/{name}": torch.tensor(value) for name, value in judged.logged.metrics.items()}
        return {name: float(value) for name, value in (means | self.measures).items()}


def make_rollout(actors: Actors, responses: Responses, config: PPOConfig, kl_coef: float, clock: Clock) -> Rollout:
    """Score the responses of a step, and build a batch of `batch_size` rows from them."""
    samples, row_prompts, group = order_rows(responses, config)
    inputs: dict[str, Any] = {"prompt_tokens": samples.prompt_tokens, "prompt_mask": samples.prompt_mask}
    inputs |= {} if samples.pictures is None else {"pictures": samples.pictures}
    if samples.inserted is not None:
        inputs["response_mask"] = samples.mask  # read by the models, tools' answers among it
    mask = samples.drawn  # the actions: what is paid, compared and learned from

    # The trainer's own log-probabilities, not the sampler's, unless the settings say so: see rlhf/old_logprobs.py.
    old = behaviour_logprobs(actors.policy, inputs, samples, config)
    clock.lap("old_logprobs")
    # Also where no penalty needs them: the KL is logged and is what the doctor reads.
    with actors.offload.bring("reference"):
        ref_logprobs = compute_sample_logprobs(actors.reference, samples, config)
    clock.lap("reference")

    with actors.offload.bring("scores"):
        scored = score_responses(actors, row_prompts, samples, config)
    # Rewards per token: the KL penalty everywhere, token-level scores at their tokens, all else at the end.
    by_token, remainder = split_scores(scored.judged.at_tokens, scored.factor, scored.shaped, mask)
    # Against the old policy: within an update the penalty of a sampled token is a constant, part of its reward.
    penalties = compute_kl_penalties(old.logprobs, ref_logprobs, mask, kl_coef, config)
    rewards = add_at_last_token(by_token - penalties, remainder, mask)
    # Over the whole batch, before minibatches are cut: whitening each by itself would make it depend on the cut.
    advantages, returns = compute_advantages(AdvantageInputs(rewards, mask, group, old.values, config))
    if old.weights is not None:
        # The policy loss is linear in the advantage, so that this weights the loss of each token.
        advantages = advantages * old.weights

    measures = old.sampling | measure_scores(scored.scores, group, config.responses_per_prompt)
    measures |= measure_learning_signal(samples, rewards, old.values, advantages, config)
    measures |= {"unpunished_std": scored.unpunished_std}
    measures |= {} if samples.inserted is None else measure_tools(samples.inserted)
    measures |= {"staleness": torch.tensor(responses.staleness)} if config.async_steps else {}
    measures |= {"ref_log_ratio_clamped": clamped_share(old.logprobs, ref_logprobs, mask)}
    loss_ref_logprobs = None if config.penalty_in_reward else ref_logprobs
    learned = advantages, returns, loss_ref_logprobs, count_tokens(samples)
    batch = Batch(inputs, samples.tokens, mask, old.logprobs, old.values, *learned)
    # k1, whatever estimator the penalty uses: summed over a response it is unbiased, and small batches stay comparable.
    kl = (old.logprobs - ref_logprobs) * mask
    if config.async_steps and old.weights is not None:
        kl = kl * old.weights  # tokens of an older policy: unweighted this would be a KL less the distance between both
    kl = kl.sum(1)
    return Rollout(batch, row_prompts, samples, scored, rewards, ref_logprobs, kl, old, measures)


def order_rows(responses: Responses, config: PPOConfig) -> tuple[Samples, list[Prompt], Int[Tensor, " B"]]:
    """Return samples, prompts and groups with rows of like length together within each minibatch.

    Before anything is computed in micro-batches: policy and reference then see the same ones, so that the first KL and
    the first ratio stay exact.
    """
    samples, plan = responses.samples, responses.plan
    lengths = count_tokens(samples)
    parts = minibatches(len(lengths), config.num_mini_batches, None)
    order = torch.cat([order_by_length(rows, lengths, config.micro_batch_size) for rows in parts])
    if torch.equal(order, torch.arange(len(order))):
        return samples, plan.prompts, plan.group
    prompts = [plan.prompts[row] for row in order.tolist()]
    return join_samples([samples], order.argsort().tolist()), prompts, plan.group[order]


def count_tokens(samples: Samples) -> Int[Tensor, " B"]:
    """Tokens of each prompt with its response."""
    return samples.prompt_mask.sum(1) + samples.mask.sum(1)


def score_responses(actors: Actors, prompts: Sequence[Prompt], samples: Samples, config: PPOConfig) -> ScoredResponses:
    """Score each response and shape the scores, in the order listed in rlhf/scores.py."""
    judged = judge(actors.scorer, actors.tokenizer, prompts, samples)
    scores = actors.scorer.combine(judged).to(samples.mask.device)
    shaped, factor = actors.shaper(scores)
    # Before the penalty: the doctor compares the spread of the score itself with what a missing end costs.
    unpunished_std = shaped.std(unbiased=False)
    # After the shaping, so that the penalty is in the units of the reward and does not move running moments.
    scores, shaped = (
        penalise_missing_end(each, samples.stop_reasons, config.missing_eos_penalty, config.missing_eos_score)
        for each in (scores, shaped)
    )
    return ScoredResponses(judged, scores, shaped, factor, unpunished_std)


def measure_learning_signal(
    samples: Samples,
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"] | None,
    advantages: Float[Tensor, "B T"],
    config: PPOConfig,
) -> Measures:
    """Measure repetition, the spread of the advantages, and how well the critic predicts the returns."""
    mask = samples.drawn
    measures = {
        "repetition": measure_repetition(samples.tokens, samples.mask),
        "advantage_std": masked_var(advantages, mask).sqrt(),
    }
    if values is not None:
        # In the critic's units: it learns whitened rewards where `whiten_rewards` is set.
        scaled = masked_whiten(rewards, mask, shift_mean=False) if config.whiten_rewards else rewards
        measures["explained_variance_mc"] = monte_carlo_explained_variance(values, scaled, mask, config.gamma)
    return measures
