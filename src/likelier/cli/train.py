"""`likelier sft`, `reward`, `dpo` and the other training stages: a command for each row of the table of stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from likelier.cli.answer import JSON, Result, answers
from likelier.cli.options import CONFIG, OUT, OVERRIDES, RESUME, SEED
from likelier.runs.naming import run_folder
from likelier.stages import Stage


def training_command(stage: Stage) -> Callable[..., None]:
    """The command of a stage: it reads a file of settings and trains in a run folder."""

    @answers()
    def command(
        config: CONFIG,
        overrides: OVERRIDES = None,
        out: OUT = None,
        resume: RESUME = "never",
        seed: SEED = None,
        json: JSON = False,
    ) -> Result:
        settings = load(config, overrides, seed)
        return train(stage, settings, run_folder(config.stem, out, resume), resume)

    return command


def train(stage: Stage, config: Any, folder: Path, resume: str) -> Result:
    """Train in `folder`; returns the stage's result."""
    from likelier.runs.shared import shared_run

    trainer = stage.load_trainer()
    with shared_run(folder, stage.verb, config, resume) as run:
        return trainer(config, run)


def load(path: Path, overrides: list[str] | None, seed: int | None) -> Any:
    """Read the settings of a file with `key=value` and `--seed` laid over them."""
    from likelier.config import load_config

    return load_config(path, [*(overrides or []), *([] if seed is None else [f"seed={seed}"])])
