"""Train a stage from Python: the same settings, run folders and results as the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likelier.config import Config, RewardSource, build_config, read_yaml
from likelier.errors import ConfigError, Stopped
from likelier.files import read_log
from likelier.runs.naming import run_folder
from likelier.runs.shared import train_stage
from likelier.stages import STAGES

AnyConfig = str | Path | Mapping[str, Any] | Config
"""A YAML file, its content as a dictionary (paths may be `Path`s), or a checked `Config`."""
Source = Callable[..., Any] | str | Mapping[str, Any] | RewardSource
"""A reward function, its name as `file.py:name` or `package.module:name`, or the settings of a source of rewards."""
Reward = Source | Sequence[Source]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run."""

    folder: Path
    """The run's folder; `likelier.load(folder)` loads the model, `likelier doctor` and `report` read it too."""
    result: dict[str, Any]
    """What the verb prints with `--json`."""

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, one dict a step; docs/reference.md defines each metric."""
        return list(read_log(self.folder / "metrics.jsonl"))


def train_sft(
    config: AnyConfig,
    out: str | Path | None = None,
    reward: Reward | None = None,
    *,
    seed: int | None = None,
    resume: str = "never",
    accept_changes: bool = False,
) -> TrainedRun:
    """Supervised fine-tuning of `config.model` on `config.data`; see `likelier sft`.

    `reward` is used only for evaluation (`sft.eval_steps`).
    """
    return train("sft", config, out, reward, seed, resume, accept_changes)


def train_reward(
    config: AnyConfig,
    out: str | Path | None = None,
    reward: Reward | None = None,
    *,
    seed: int | None = None,
    resume: str = "never",
    accept_changes: bool = False,
) -> TrainedRun:
    """Train a reward model on the preferences in `config.data`; see `likelier reward`. It takes no `reward`."""
    return train("reward", config, out, reward, seed, resume, accept_changes)


def train_dpo(
    config: AnyConfig,
    out: str | Path | None = None,
    reward: Reward | None = None,
    *,
    seed: int | None = None,
    resume: str = "never",
    accept_changes: bool = False,
) -> TrainedRun:
    """Direct preference optimisation of `config.model` on the preferences in `config.data`; see `likelier dpo`.

    `reward` is used only for evaluation (`dpo.eval_steps`).
    """
    return train("dpo", config, out, reward, seed, resume, accept_changes)


def train_ppo(
    config: AnyConfig,
    out: str | Path | None = None,
    reward: Reward | None = None,
    *,
    seed: int | None = None,
    resume: str = "never",
    accept_changes: bool = False,
) -> TrainedRun:
    """Train `config.model` with PPO on `reward` (default: `config.reward`); see `likelier ppo`."""
    return train("ppo", config, out, reward, seed, resume, accept_changes)


def train_gym(
    config: AnyConfig,
    out: str | Path | None = None,
    reward: Reward | None = None,
    *,
    seed: int | None = None,
    resume: str = "never",
    accept_changes: bool = False,
) -> TrainedRun:
    """Train PPO on a Gymnasium environment: a config with `gym.env_id`, or an environment id; see `likelier gym`.

    It takes no `reward`.
    """
    return train("gym", config, out, reward, seed, resume, accept_changes)


def train(
    verb: str,
    config: AnyConfig,
    out: str | Path | None,
    reward: Reward | None,
    seed: int | None,
    resume: str,
    accept_changes: bool,
) -> TrainedRun:
    """Train a stage in the folder `out`; default: a new folder `runs/<name>-<n>`, as on the command line.

    `resume`: "never", "auto" or a checkpoint folder; `accept_changes`: resume although inputs or versions have changed.
    Raises ConfigError, DataError, NumericError or LikelierError, with the message that the command line prints.
    Stopped: Ctrl-C or SIGTERM ended the run after a checkpoint (in the main thread only).
    """
    settings, name = read_config(verb, config, reward, seed)
    folder = run_folder(name, None if out is None else Path(out), resume)
    try:
        result = train_stage(verb, settings, folder, resume, accept_changes)
    except Stopped as stopped:
        resume_call = f"likelier.train_{verb}(..., out={str(folder)!r}, resume='auto')" if stopped.resume else ""
        raise Stopped(stopped.reason, stopped.exit_code, resume_call) from None
    return TrainedRun(folder, result)


def read_config(verb: str, config: AnyConfig, reward: Reward | None, seed: int | None) -> tuple[Config, str]:
    """Return the checked settings, overridden by `reward` and `seed`, and the name for runs: the file's, or the verb.

    ConfigError: an invalid setting, or a `reward` for a stage that takes none.
    """
    name, source = verb, "config"
    if isinstance(config, Config):
        settings = config.model_dump(exclude_unset=True)
    elif isinstance(config, Mapping):
        settings = with_plain_paths(config)
    elif verb == "gym" and isinstance(config, str | Path):
        from likelier.control.known import gym_settings

        (settings, name), source = gym_settings(str(config)), str(config)
    elif isinstance(config, str | Path):
        settings, name, source = read_yaml(Path(config)), Path(config).stem, str(config)
    else:
        raise ConfigError(f"train_{verb}: config is a {type(config).__name__}; give a YAML file, a dict or a Config")
    if reward is not None:
        settings = settings | {"reward": reward_sources(verb, reward)}
    return build_config(settings, [] if seed is None else [f"seed={seed}"], source), name


def reward_sources(verb: str, reward: Reward) -> list[Any]:
    """The reward sources that replace `config.reward`. ConfigError: the stage uses no reward."""
    if "reward" not in STAGES[verb].inputs:
        reason = "an environment gives its own rewards" if verb == "gym" else "it learns the score that others train on"
        raise ConfigError(f"train_{verb}: {reason}; leave out reward")
    sources = list(reward) if isinstance(reward, Sequence) and not isinstance(reward, str) else [reward]
    return [
        {"function": source} if callable(source) or isinstance(source, str) else with_plain_paths(source)
        for source in sources
    ]


def with_plain_paths(value: Any) -> Any:
    """Return the settings with each `Path` converted to a string."""
    if isinstance(value, Mapping):
        return {key: with_plain_paths(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [with_plain_paths(item) for item in value]
    return str(value) if isinstance(value, Path) else value
