"""The whole config: a YAML file with `key.sub=value` overrides."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from likelier.config.base import OWN_ARGUMENTS, Block, NonEmpty, PageConfig, list_settings, refuse_idle
from likelier.config.circle import CircleConfig
from likelier.config.evaluation import EvalConfig
from likelier.config.gym import GymConfig
from likelier.config.ppo import PPOConfig
from likelier.config.rewards import Rewards, RewardSource, name_sources
from likelier.config.search import SearchConfig
from likelier.config.text import DPOConfig, RewardModelConfig, SFTConfig
from likelier.config.yaml_file import parse_yaml, read_yaml
from likelier.errors import ConfigError


class Config(Block):
    """The contents of a config file: model, data and prompts, and a block for each stage."""

    model: str = ""
    """Folder or hub name of the language model that a stage starts from, or the folder of a LoRA adapter of one: it
    goes on if the stage has its `lora_rank`, and is merged into its base without."""
    prompts: str = ""
    """Prompt file (JSONL with `prompt`)."""
    data: str = ""
    """Training data: text or preference files of the stage."""
    chat_template_kwargs: dict[NonEmpty, Any] = {}
    """Arguments for the chat template wherever prompts of messages are written, such as `{enable_thinking: false}` for
    Qwen3, or `tools`. A model that is trained with some keeps them in its folder; none: those that the folder has."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Everything random follows from this."""
    reward: Rewards = []
    """What the policy is trained against: the weighted sum of these."""
    circle: CircleConfig = CircleConfig()
    """The whole circle: how people are asked."""
    sft: SFTConfig = SFTConfig()
    """Supervised fine-tuning."""
    reward_model: RewardModelConfig = RewardModelConfig()
    """Learning a score from preferences."""
    dpo: DPOConfig = DPOConfig()
    """Learning a policy from preferences directly."""
    ppo: PPOConfig = PPOConfig()
    """Fine-tuning against the reward."""
    gym: GymConfig = GymConfig()
    """PPO on a Gymnasium environment."""
    eval: EvalConfig = EvalConfig()
    """Comparing two models."""
    search: SearchConfig = SearchConfig()
    """Looking for good settings."""

    @model_validator(mode="after")
    def check_template_kwargs(self) -> Self:
        """ValueError: an argument that is not the template's."""
        if own := sorted(OWN_ARGUMENTS & set(self.chat_template_kwargs)):
            raise ValueError(f"chat_template_kwargs: {own[0]} is no argument of the template; remove it")
        return self

    @model_validator(mode="after")
    def check_held_out_judges(self) -> Self:
        """Validate that judges which decide about a PPO run are among those of `eval.scorer`."""
        if not self.model:  # pictures, whose judges are given in Python; text is refused without a model
            return self
        judges, name = name_sources(self.eval.scoring), self.ppo.keep_best
        if name is not None and name not in judges:
            raise ValueError(
                f"ppo.keep_best: no judge that scores is called {name!r} in eval.scorer; "
                f"it has {', '.join(judges) or 'none'}"
            )
        if self.ppo.stop_on and not judges:
            raise ValueError("ppo.stop_on: nothing to see it by; give eval.scorer a judge that scores")
        return self

    @model_validator(mode="after")
    def check_people(self) -> Self:
        """Validate the settings of PPO that people in `reward` need or exclude."""
        page = tuple(PageConfig.model_fields)
        refuse_idle(self.ppo, [(self.people is None, page, "`reward` has no people to open a page for")], "ppo.")
        if self.people and self.ppo.reward_center:
            raise ValueError("ppo.reward_center: people have rated nothing when the reference is scored; remove it")
        return self

    @property
    def people(self) -> RewardSource | None:
        """The source of `reward` that asks people for ratings; None if there is none."""
        return next((source for source in self.reward if source.people is not None), None)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `key.sub=value` overrides.

    ConfigError, one line: file, field, value and what is allowed; an unknown key names the nearest known one.
    """
    return build_config(read_yaml(path), overrides, str(path))


def build_config(settings: dict[str, Any], overrides: Sequence[str] = (), source: str = "config") -> Config:
    """Validate settings given as a dictionary, with `key.sub=value` overrides applied."""
    merged = settings
    for override in overrides:
        merged = apply_override(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_error(error)}") from error


def apply_override(settings: dict[str, Any], override: str) -> dict[str, Any]:
    """Return `settings` with the override `a.b=value` applied; the value is parsed as YAML."""
    path, equals, value = override.partition("=")
    name = f"`{override if len(override) <= 80 else override[:77] + '...'}`"
    if not equals or not path:
        raise ConfigError(f"{name}: settings on the command line look like ppo.learning_rate=1e-5")
    parsed = parse_yaml(value, name)
    *blocks, key = path.split(".")
    merged = block = dict(settings)
    for head in blocks:
        below = block.get(head) or {}
        if not isinstance(below, dict):
            raise ConfigError(f"{name}: {head} is not a block of settings")
        block[head] = dict(below)
        block = block[head]
    block[key] = parsed
    return merged


def describe_errors(error: ValidationError) -> str:
    """Describe all validation errors in one line, as `describe_error` does the first."""
    return "; ".join(map(describe_fault, error.errors(include_url=False)))


def describe_error(error: ValidationError) -> str:
    """Describe the first validation error in one line: field, value, what is allowed."""
    first = error.errors(include_url=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return describe_fault(first) + ("" if first["type"] == "extra_forbidden" else more)


def describe_fault(fault: ErrorDetails) -> str:
    """Describe one validation error."""
    field = ".".join(str(key) for key in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown setting `{field}`{suggest_names(fault['loc'])}"
    reason = fault["msg"].removeprefix("Value error, ")
    got = "" if fault["type"] == "value_error" else f", got {shorten(fault['input'])}"
    where = f"{field}: " if field else "" if fault["type"] == "value_error" else "settings: "  # of several blocks
    return f"{where}{reason}{got}"


def shorten(value: Any) -> str:
    """Format a value as it would be typed, on one line of at most 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def suggest_names(location: Sequence[Any]) -> str:
    """Return `; did you mean X?`, or the list of allowed names."""
    block: type[Block] = Config
    for key in location[:-1]:
        if key in block.model_fields:
            block = find_block(block.model_fields[key].annotation) or block
    names = list(list_settings(block))
    match = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"; did you mean `{match[0]}`?" if match else f"; allowed: {', '.join(names)}"


def list_blocks() -> dict[str, type[Block]]:
    """The setting blocks by name, in the order of the file."""
    annotations = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, Block)}


def find_block(annotation: Any) -> type[Block] | None:
    """Return the first settings block in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return annotation
    return next((block for arg in get_args(annotation) if (block := find_block(arg))), None)
