"""Memory and time of a PPO run: its passes traced once, and memory and time made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from likelier.config import Config, PPOConfig
from likelier.plan.decoding import Decoding, count_weights, list_products, trace_decoding
from likelier.plan.lengths import Lengths, measure_prompts
from likelier.plan.machine import Machine, Rates
from likelier.plan.memory import Phase, add_parts, hold_models
from likelier.plan.models import Actors, build_actors, count_trained
from likelier.plan.passes import trace_logprobs, trace_scores, trace_update
from likelier.plan.sharding import count_gathered, divide_phase
from likelier.plan.stage import StagePlan
from likelier.plan.trace import Trace, count_bytes

SCORED_AT_ONCE = 64
"""Responses that a reward model reads at once, see `RewardModel.read`."""
STEP_BYTES = 28
"""Read and written by Adam's step: weight and both moments twice, gradient once."""


@dataclass(frozen=True)
class Sizes:
    """Rows and tokens of the batches of one process."""

    prompt: int
    """Tokens of the longest prompt."""
    response: int
    batch: int
    sampled: int
    """Responses that are decoded at once."""
    micro: int
    """Rows of a forward pass in the update."""
    micros: int
    """Micro-batches of a minibatch."""
    padding: float
    """Mean width of a micro-batch, as a share of the largest."""

    @property
    def scored(self) -> int:
        """Responses that a reward model reads at once."""
        return min(self.batch, SCORED_AT_ONCE)


class Passes(NamedTuple):
    """The passes of an iteration."""

    decoding: Decoding
    old: Sequence[Trace]
    """Policy and critic over a micro-batch, without gradients."""
    reference: Trace
    scores: Sequence[Trace]
    """Each reward model over `Sizes.scored` responses."""
    judges: Sequence[Trace]
    update: Trace


def plan_ppo(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan a PPO run. `process`: bytes of Python and its libraries."""
    lengths = measure_prompts(config)
    sizes = find_sizes(config.ppo, lengths, machine.count)
    actors = build_actors(config, machine.device)
    passes = trace_passes(actors, config.ppo, sizes, machine)
    phases = list_phases(actors, passes, config.ppo, machine, process)
    seconds = time_phases(passes, config.ppo, sizes, count_trained([actors.policy]), machine.rates)
    return StagePlan(
        "ppo",
        phases,
        seconds,
        config.ppo.steps,
        time_evaluations(config.ppo, sizes, seconds, lengths.total),
        config.ppo.steps * config.ppo.batch_size * config.ppo.response_length,
        [note for note in (lengths.note, explain_engine(config.ppo)) if note],
    )


def explain_engine(ppo: PPOConfig) -> str:
    """Return what the figures leave out where another process or vLLM samples; empty where none does."""
    if ppo.sampler == "exact":
        return (
            "ppo.async_steps: not counted is what the sampler's process holds: the policy once more, with keys and "
            "values; and time is that of sampling and learning one after the other"
            if ppo.async_steps
            else ""
        )
    return "ppo.sampler: vllm: not counted is what the engine holds: the weights once more, and keys and values"


def find_sizes(ppo: PPOConfig, lengths: Lengths, count: int) -> Sizes:
    """Return the sizes of a run in `count` processes."""
    batch = -(-ppo.batch_size // count)
    mini = -(-ppo.batch_size // ppo.num_mini_batches // count)
    micro = min(mini, ppo.micro_batch_size or mini)
    width = lengths.expect_longest(micro) + ppo.response_length
    return Sizes(
        prompt=lengths.longest,
        response=ppo.response_length,
        batch=batch,
        sampled=min(batch, ppo.rollout_batch_size or batch),
        micro=micro,
        micros=-(-mini // micro),
        padding=width / (lengths.longest + ppo.response_length),
    )


def trace_passes(actors: Actors, ppo: PPOConfig, sizes: Sizes, machine: Machine) -> Passes:
    """Trace the passes of an iteration, with the longest prompts."""
    bf16 = bool(ppo.bf16)
    policy, texts, width = actors.policy, (sizes.micro, sizes.prompt, sizes.response), sizes.prompt + sizes.response
    old = [trace_logprobs(policy.model, *texts, bf16)]
    if isinstance(policy.critic, PreTrainedModel):
        old.append(trace_scores(policy.critic, sizes.micro, width, bf16))
    scores, judges = (
        [trace_scores(model, sizes.scored, width) for model in scorers.models]
        for scorers in (actors.rewards, actors.judges)
    )
    return Passes(
        trace_decoding(policy.model, sizes.sampled, ppo.responses_per_prompt, texts[1:], bf16, machine.is_cpu),
        old,
        trace_logprobs(actors.reference, *texts, bf16),
        scores,
        judges,
        trace_update(policy, *texts, ppo.entropy_coef > 0, sizes.micros > 1),
    )


def list_phases(actors: Actors, passes: Passes, ppo: PPOConfig, machine: Machine, process: int) -> list[Phase]:
    """Return the phases of a run, as they are from its second iteration on.

    `process`: bytes of Python and its libraries, which on a GPU are not its own.
    """
    trained = count_trained([actors.policy])
    frozen = [actors.reference, *actors.rewards.models, *actors.judges.models]
    more = {"adapters": actors.rewards.adapter_bytes + actors.judges.adapter_bytes}
    kept = machine, process, passes.update.most_small
    if ppo.offload:  # what a phase does not use is on the CPU
        after = hold_models([actors.policy], 0, ppo.optimizer, *kept)
        scored = add_parts(hold_models([actors.policy, *frozen], 0, ppo.optimizer, *kept), more)
        held = hold_models([actors.policy], trained, ppo.optimizer, *kept)
    else:
        held = add_parts(hold_models([actors.policy, *frozen], trained, ppo.optimizer, *kept), more)
        after = scored = held
    scoring = max([*passes.scores, *passes.judges, passes.reference], key=lambda trace: trace.peak_bytes)
    phases = [
        *passes.decoding.list_phases(after),
        Phase("score", add_parts(scored, scoring.peak)),
        Phase("update", add_parts(held, passes.update.peak)),
    ]
    if machine.is_cpu and actors.policy.model._hf_peft_config_loaded:
        phases.append(Phase("save", add_parts(after, {"weights": count_merged(actors.policy.model)})))
    return divide_phases(phases, actors, machine.count) if ppo.shard and machine.count > 1 else phases


def divide_phases(phases: Sequence[Phase], actors: Actors, count: int) -> list[Phase]:
    """Return the phases in one of `count` processes that share the weights; each samples from a whole copy."""
    policy, scorers = actors.policy, [actors.reference, *actors.rewards.models, *actors.judges.models]
    trained = [policy.model, *([policy.critic] if policy.critic is not None else [])]
    gathered = {"update": count_gathered(trained, trains=True), "score": count_gathered(scorers)}
    copy = count_bytes(policy.model.parameters())
    return [divide_phase(phase, count, gathered.get(phase.name, copy)) for phase in phases]


def count_merged(model: PreTrainedModel) -> int:
    """Return the bytes of the merged model that is written at the end, in the type of the base's folder."""
    base = sum(count_weights(layer) for layer in list_products(model))
    own = model.config.dtype
    return base * (own.itemsize if isinstance(own, torch.dtype) else 4)


def time_phases(
    passes: Passes, ppo: PPOConfig, sizes: Sizes, trained: int, rates: Rates | None
) -> dict[str, float] | None:
    """Return the seconds of an iteration by phase, under the names of `timing.jsonl`; None without rates."""
    if rates is None:
        return None
    micros, scored = -(-sizes.batch // sizes.micro), -(-sizes.batch // sizes.scored)
    step = trained * STEP_BYTES / rates.bandwidth
    minibatch = sizes.padding * sizes.micros * rates.time(passes.update.operations) + step
    return {
        "sample": -(-sizes.batch // sizes.sampled) * passes.decoding.time(rates),
        "old_logprobs": sizes.padding * micros * sum(rates.time(trace.operations) for trace in passes.old),
        "reference": sizes.padding * micros * rates.time(passes.reference.operations),
        "score": sizes.padding * scored * sum(rates.time(trace.operations) for trace in passes.scores),
        "update": ppo.num_ppo_epochs * ppo.num_mini_batches * minibatch,
    }


def time_evaluations(ppo: PPOConfig, sizes: Sizes, seconds: Mapping[str, float] | None, prompts: int | None) -> float:
    """Return the seconds of all held-out evaluations: each samples, scores, and compares with the reference."""
    if seconds is None:
        return 0.0
    rows = min(ppo.num_eval_prompts, max(1, (prompts or ppo.num_eval_prompts) // 5))
    number = 2 + (ppo.steps // ppo.eval_steps if ppo.eval_steps else 0)
    return number * rows / sizes.batch * (seconds["sample"] + 2 * seconds["reference"] + seconds["score"])
