"""The settings of every stage: frozen models, from YAML and `key.sub=value`, checked before anything runs."""

from likelier.config.base import (
    Block,
    Fraction,
    NonEmpty,
    NonNegative,
    Port,
    Positive,
    PositiveFloat,
    Rate,
    SamplingConfig,
    Training,
    UpdateConfig,
    list_settings,
    refuse_idle,
)
from likelier.config.circle import CircleConfig
from likelier.config.evaluation import EvalConfig, OtherModel
from likelier.config.gym import GymConfig, PreferencesConfig
from likelier.config.load import (
    Config,
    apply_override,
    build_config,
    describe_error,
    find_block,
    list_blocks,
    load_config,
    shorten,
    suggest_names,
)
from likelier.config.rewards import PEOPLE_GIVE_NO_SCORE, JudgeConfig, Rewards, RewardSource, Scoring, refuse_people
from likelier.config.search import Range, SearchConfig, SearchValues
from likelier.config.text import DPOConfig, LoRA, Memory, PPOConfig, RewardModelConfig, SFTConfig
from likelier.config.yaml_file import PlainLoader, parse_yaml, read_yaml

__all__ = [
    "PEOPLE_GIVE_NO_SCORE",
    "Block",
    "CircleConfig",
    "Config",
    "DPOConfig",
    "EvalConfig",
    "Fraction",
    "GymConfig",
    "JudgeConfig",
    "LoRA",
    "Memory",
    "NonEmpty",
    "NonNegative",
    "OtherModel",
    "PPOConfig",
    "PlainLoader",
    "Port",
    "Positive",
    "PositiveFloat",
    "PreferencesConfig",
    "Range",
    "Rate",
    "RewardModelConfig",
    "RewardSource",
    "Rewards",
    "SFTConfig",
    "SamplingConfig",
    "Scoring",
    "SearchConfig",
    "SearchValues",
    "Training",
    "UpdateConfig",
    "apply_override",
    "build_config",
    "describe_error",
    "find_block",
    "list_blocks",
    "list_settings",
    "load_config",
    "parse_yaml",
    "read_yaml",
    "refuse_idle",
    "refuse_people",
    "shorten",
    "suggest_names",
]
