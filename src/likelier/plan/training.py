"""Memory and time of SFT, reward models and DPO: forward and backward passes over texts of their data."""

from typing import NamedTuple

from transformers import PreTrainedModel

from likelier.config import Config, DPOConfig, Memory, RewardModelConfig, SFTConfig, Training
from likelier.plan.lengths import Lengths, measure_examples, measure_pairs
from likelier.plan.machine import Machine
from likelier.plan.memory import Phase, add_parts, hold_models
from likelier.plan.models import build_new, build_trained, build_trained_classifier, count_trained, is_planned
from likelier.plan.passes import trace_classifier, trace_language_model, trace_update
from likelier.plan.sharding import count_gathered, divide_phase
from likelier.plan.stage import StagePlan
from likelier.plan.trace import Trace, count_bytes
from likelier.reward.pairs import MIN_STEPS
from likelier.reward.start import find_start
from likelier.runs.folder import find_model
from likelier.text.policy import TextPolicy

STEP_BYTES = 28
"""Read and written by Adam's step: weight and both moments twice, gradient once."""
TWO_SIDES = 2
"""Texts of a pair."""


class Batches(NamedTuple):
    """How the data are cut."""

    rows: int
    """Texts of an optimizer step, in all processes."""
    micro: int
    """Texts of a forward pass."""
    micros: int
    """Forward passes of a process in an optimizer step."""
    steps: int | None
    """Optimizer steps; None if the data are not there to count them."""

    @classmethod
    def cut(
        cls, settings: SFTConfig | RewardModelConfig | DPOConfig, steps: int | None, count: int, texts: int = 1
    ) -> "Batches":
        """Cut batches among `count` processes as the stages do; an example has so many texts."""
        own = -(-settings.batch_size // count)
        micro = min(own, settings.micro_batch_size or own)
        return cls(texts * settings.batch_size, texts * micro, -(-own // micro), steps)


def plan_sft(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan supervised fine-tuning. `process`: bytes of Python and its libraries."""
    sft, lengths = config.sft, measure_examples(config)
    steps = sft.max_steps or count_steps(lengths.total, sft.num_epochs, sft.batch_size)
    batches = Batches.cut(sft, steps, machine.count)
    if sft.architecture:
        model = build_new(sft.architecture, sft.vocab_size)
    else:
        model = build_trained(config.model, sft, "sft", machine.device)
    trace = trace_language_model(model, batches.micro, lengths.longest, sft, batches.micros > 1)
    return make_plan("sft", model, trace, sft, lengths, batches, machine, process)


def plan_reward(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan a reward model, of several one after the other. `process`: bytes of Python and its libraries."""
    settings, lengths = config.reward_model, measure_pairs(config, config.reward_model.max_length)
    made = settings.off_prompt_pairs  # for each pair that people judged
    epoch = count_steps(lengths.total and lengths.total + round(made * lengths.total), 1, settings.batch_size)
    epochs = settings.num_epochs or (None if epoch is None else -(-MIN_STEPS // epoch))
    models = settings.ensemble_size if settings.ensemble == "models" else 1
    steps = None if epoch is None or epochs is None else models * epochs * epoch
    batches = Batches.cut(settings, steps, machine.count, TWO_SIDES)
    start = config.model if settings.from_ and is_planned(settings.from_) else find_model(find_start(config).base)
    model = build_trained_classifier(start, settings, machine.device)
    trace = trace_classifier(model, batches.micro, lengths.longest, settings, batches.micros > 1)
    plan = make_plan("reward", model, trace, settings, lengths, batches, machine, process)
    # The weights of the best epoch stand beside those that are trained.
    best = count_bytes(weight for weight in model.parameters() if weight.requires_grad)
    return plan.hold({"weights": best // (machine.count if settings.shard else 1)})


def plan_dpo(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan DPO, whose reference is not in memory. `process`: bytes of Python and its libraries."""
    dpo, lengths = config.dpo, measure_pairs(config, config.dpo.max_length)
    steps = count_steps(lengths.total, dpo.num_epochs, dpo.batch_size)
    batches = Batches.cut(dpo, steps, machine.count, TWO_SIDES)
    model = build_trained(config.model, dpo, "dpo", machine.device)
    policy = TextPolicy(model, bf16=bool(dpo.bf16), gradient_checkpointing=dpo.gradient_checkpointing)
    # How much of a text is its prompt matters to the logits alone: half of it is taken.
    prompt = max(1, lengths.longest // 2)
    texts = batches.micro, prompt, max(1, lengths.longest - prompt)
    trace = trace_update(policy, *texts, entropy=False, accumulates=batches.micros > 1)
    return make_plan("dpo", model, trace, dpo, lengths, batches, machine, process)


def count_steps(total: int | None, epochs: int, batch_size: int) -> int | None:
    """Return the optimizer steps over so many examples; None if their number is not known."""
    return None if total is None else -(-total * epochs // batch_size)


def make_plan(
    stage: str,
    model: PreTrainedModel,
    trace: Trace,
    settings: Training,
    lengths: Lengths,
    batches: Batches,
    machine: Machine,
    process: int,
) -> StagePlan:
    """Make the plan of a stage that has one model and one kind of pass."""
    trained = count_trained([model])
    optimizer = settings.optimizer if isinstance(settings, Memory) else "adamw"
    held = hold_models([model], trained, optimizer, machine, process, trace.most_small)
    phases = [Phase("update", add_parts(held, trace.peak))]
    if isinstance(settings, Memory) and settings.shard and machine.count > 1:
        phases = [divide_phase(phase, machine.count, count_gathered([model], trains=True)) for phase in phases]
    seconds = None
    if machine.rates is not None:
        share = lengths.expect_longest(batches.micro) / lengths.longest
        step = trained * STEP_BYTES / machine.rates.bandwidth
        seconds = {"update": share * batches.micros * machine.rates.time(trace.operations) + step}
    mean = sum(lengths.tokens) / len(lengths.tokens)
    tokens = None if batches.steps is None else int(batches.steps * batches.rows * mean)
    return StagePlan(stage, phases, seconds, batches.steps, 0.0, tokens, [note for note in (lengths.note,) if note])
