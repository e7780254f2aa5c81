"""Train a stage from Python: the same settings, run folders and results as the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likelier.config import Config, build_config, load_config
from likelier.errors import ConfigError, Stopped
from likelier.files import read_log
from likelier.runs.naming import run_folder
from likelier.runs.shared import train_stage

AnyConfig = str | Path | Mapping[str, Any] | Config
"""A YAML file, its content as a dictionary (paths may be `Path`s), or a checked `Config`."""


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
    config: AnyConfig, out: str | Path | None = None, *, seed: int | None = None, resume: str = "never"
) -> TrainedRun:
    """Supervised fine-tuning of `config.model` on `config.data`; see `likelier sft`."""
    return train("sft", config, out, seed, resume)


def train_reward(
    config: AnyConfig, out: str | Path | None = None, *, seed: int | None = None, resume: str = "never"
) -> TrainedRun:
    """Train a reward model on the preferences in `config.data`; see `likelier reward`."""
    return train("reward", config, out, seed, resume)


def train_dpo(
    config: AnyConfig, out: str | Path | None = None, *, seed: int | None = None, resume: str = "never"
) -> TrainedRun:
    """Direct preference optimisation of `config.model` on the preferences in `config.data`; see `likelier dpo`."""
    return train("dpo", config, out, seed, resume)


def train_ppo(
    config: AnyConfig, out: str | Path | None = None, *, seed: int | None = None, resume: str = "never"
) -> TrainedRun:
    """PPO on `config.model` against `config.reward`; see `likelier ppo`."""
    return train("ppo", config, out, seed, resume)


def train_gym(
    config: AnyConfig, out: str | Path | None = None, *, seed: int | None = None, resume: str = "never"
) -> TrainedRun:
    """PPO on the Gymnasium environment `config.gym.env_id`; see `likelier gym`."""
    return train("gym", config, out, seed, resume)


def train(verb: str, config: AnyConfig, out: str | Path | None, seed: int | None, resume: str) -> TrainedRun:
    """Train a stage in `out`, by default a new folder `runs/<name>-<n>` as on the command line.

    `resume`: "never", "auto" or a checkpoint folder. Raises what the command line prints in one line: ConfigError,
    DataError, NumericError, LikelierError. Stopped: Ctrl-C or SIGTERM ended the run after a checkpoint (outside the
    main thread signals are left alone).
    """
    settings, name = read_config(verb, config, seed)
    folder = run_folder(name, None if out is None else Path(out), resume)
    try:
        result = train_stage(verb, settings, folder, resume)
    except Stopped as stopped:
        again = f"likelier.train_{verb}(..., out={str(folder)!r}, resume='auto')" if stopped.resume else ""
        raise Stopped(stopped.reason, stopped.exit_code, again) from None
    return TrainedRun(folder, result)


def read_config(verb: str, config: AnyConfig, seed: int | None) -> tuple[Config, str]:
    """The checked settings, and the name of their runs: that of the file, else the verb."""
    overrides = [] if seed is None else [f"seed={seed}"]
    if isinstance(config, Config):
        config = config.model_dump(exclude_unset=True)
    if isinstance(config, Mapping):
        return build_config(with_plain_paths(config), overrides), verb
    if isinstance(config, str | Path):
        return load_config(Path(config), overrides), Path(config).stem
    raise ConfigError(f"train_{verb}: config is a {type(config).__name__}; give a YAML file, a dict or a Config")


def with_plain_paths(value: Any) -> Any:
    """The same settings with each `Path` as a string."""
    if isinstance(value, Mapping):
        return {key: with_plain_paths(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [with_plain_paths(each) for each in value]
    return str(value) if isinstance(value, Path) else value
