"""Settings that make a stage smaller, in the order of what they cost; of the settings alone, without torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from likelier.config import Config, EvalConfig, PPOConfig, Training
from likelier.config.text import Memory
from likelier.ppo.algorithms import ALGORITHMS
from likelier.stages import STAGES

SHRINK = 4
"""By which a batch in memory is divided."""
FEWEST_SAMPLED = 8
"""Responses sampled at once below which time is lost and little memory saved."""


@dataclass(frozen=True)
class Change:
    """A setting that makes a stage smaller, with what it takes then, if that was planned."""

    setting: str
    """As on the command line: `ppo.micro_batch_size=4`; two that belong together have a blank between them."""
    costs: str
    """Cost in words."""
    peak: int | None = None
    """Bytes with this change and those before it."""
    iteration: float | None = None
    """Seconds of an iteration with them."""


def list_changes(stage: str, config: Config, has_gpu: bool = False) -> list[Change]:
    """Return what can be changed in the settings of a stage, from what costs least.

    `has_gpu`: the device has memory of its own.
    """
    if stage not in STAGES:
        return list(shrink_evaluation(config.eval)) if stage == "eval" else []
    name = STAGES[stage].block
    block = getattr(config, name)
    found = [
        *shrink_batches(block),
        *move_away(block, has_gpu),
        *store_smaller(block),
        *learn_less(block),
        *cut_texts(block),
    ]
    return [Change(" ".join(f"{name}.{word}" for word in each.setting.split()), each.costs) for each in found]


def describe_changes(changes: Sequence[Change]) -> str:
    """Return changes as the end of a sentence."""
    if not changes:
        return "take a smaller model or a larger machine"
    return "change, what costs least first: " + ", ".join(each.setting for each in changes)


def shrink_batches(block: Training) -> Iterator[Change]:
    """Yield what changes no result."""
    mini = (
        block.batch_size // block.num_mini_batches if isinstance(block, PPOConfig) else getattr(block, "batch_size", 1)
    )
    micro = getattr(block, "micro_batch_size", None) or mini
    if micro > 1:
        yield Change(f"micro_batch_size={max(1, micro // SHRINK)}", "a little time; the same results but for rounding")
    if isinstance(block, PPOConfig):
        sampled = block.rollout_batch_size or block.batch_size
        if sampled > FEWEST_SAMPLED:
            fewer = max(FEWEST_SAMPLED, sampled // SHRINK)
            yield Change(f"rollout_batch_size={fewer}", "slower sampling; the same results but for rounding")
    if isinstance(block, Memory) and not block.gradient_checkpointing:
        yield Change("gradient_checkpointing=true", "a third to a half more time in the update; the same results")


def move_away(block: Training, has_gpu: bool) -> Iterator[Change]:
    """Yield what moves memory to the CPU."""
    if has_gpu and isinstance(block, PPOConfig) and not block.offload:
        yield Change("offload=true", "some seconds a step to move weights; the same results")


def store_smaller(block: Training) -> Iterator[Change]:
    """Yield what rounds numbers."""
    frozen = isinstance(block, Memory) and (block.lora_rank is not None or isinstance(block, PPOConfig))
    if isinstance(block, Memory) and frozen and block.model_dtype in (None, "float32"):
        yield Change("model_dtype=bfloat16", "frozen weights are rounded to three digits")
    if isinstance(block, Memory) and block.optimizer == "adamw":
        yield Change("optimizer=adamw_8bit", "moments of Adam are rounded; needs the extra `quantised`")
    if not block.bf16:
        yield Change("bf16=true", "passes are rounded to three digits; slow on a CPU without bfloat16")


def learn_less(block: Training) -> Iterator[Change]:
    """Yield what trains fewer weights."""
    if not isinstance(block, Memory):
        return
    separate = isinstance(block, PPOConfig) and block.critic == "separate" and ALGORITHMS[block.algorithm].has_critic
    critic = " critic=adapter" * (separate and not getattr(block, "critic_model", None))
    if block.lora_rank is None:
        costs = "an adapter learns less than the model, and wants ten times the learning rate"
        yield Change(f"lora_rank=16{critic}", costs)
    elif critic:
        yield Change(critic.strip(), "the critic has fewer weights to learn with")
    if block.model_dtype != "4bit":
        yield Change("model_dtype=4bit", "frozen weights have 16 levels in each block; slower")


def cut_texts(block: Training) -> Iterator[Change]:
    """Yield what changes the task."""
    name = "response_length" if isinstance(block, PPOConfig) else "max_length"
    length = getattr(block, name)
    if length > 1:
        yield Change(f"{name}={length // 2}", "longer texts are cut: another task")


def shrink_evaluation(config: EvalConfig) -> Iterator[Change]:
    """Yield what makes an evaluation smaller."""
    if config.batch_size > 1:
        yield Change(
            f"eval.batch_size={max(1, config.batch_size // SHRINK)}", "time; the same results but for rounding"
        )
    yield Change(f"eval.response_length={max(1, config.response_length // 2)}", "longer answers are cut")
