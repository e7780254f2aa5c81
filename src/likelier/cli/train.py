"""`likelier sft`, `reward`, `dpo` and the other training stages: one command per row of the stage table."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.failures import is_out_of_memory
from likelier.cli.options import ACCEPT_CHANGES, CONFIG, OUT, OVERRIDES, RESUME, SEED
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import LikelierError
from likelier.runs.naming import run_folder
from likelier.stages import Stage


def training_command(stage: Stage) -> Callable[..., None]:
    """Make the command of a stage: it reads a YAML config and trains in a run folder."""

    @result_command()
    def command(
        config: CONFIG,
        overrides: OVERRIDES = None,
        out: OUT = None,
        resume: RESUME = "never",
        accept_changes: ACCEPT_CHANGES = False,
        seed: SEED = None,
        json: JSON = False,
    ) -> Result:
        from likelier.runs.shared import train_stage

        settings = load_settings(config, overrides, seed)
        with advise_on_memory(stage.verb, settings):
            return train_stage(stage.verb, settings, run_folder(config.stem, out, resume), resume, accept_changes)

    return command


@result_command()
def ppo(  # noqa: D103 (its help is written from the table of stages)
    config: CONFIG,
    overrides: OVERRIDES = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Train on a reward model that is at chance on its own held-out pairs.")
    ] = False,
    out: OUT = None,
    resume: RESUME = "never",
    accept_changes: ACCEPT_CHANGES = False,
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    from likelier.runs.shared import train_stage

    settings = load_settings(config, [*(overrides or []), *["ppo.anyway=true"] * anyway], seed)
    with advise_on_memory("ppo", settings):
        return train_stage("ppo", settings, run_folder(config.stem, out, resume), resume, accept_changes)


@contextlib.contextmanager
def advise_on_memory(stage: str, config: Any) -> Iterator[None]:
    """LikelierError instead of an error about memory: it names the settings to change, as `likelier plan` does."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or stage == "gym":
            raise
        from likelier.plan.changes import describe_changes, list_changes

        advice = describe_changes(list_changes(stage, config, "CUDA" in str(error)))
        raise LikelierError(f"out of memory; {advice} ({type(error).__name__}: {error})") from error


def load_settings(path: Path, overrides: list[str] | None, seed: int | None) -> Any:
    """Load a config file and apply `key=value` overrides and `--seed`. ConfigError: an invalid setting."""
    from likelier.config import load_config

    return load_config(path, [*(overrides or []), *([] if seed is None else [f"seed={seed}"])])
