"""`likelier sft`, `reward`, `dpo` and `ppo`: the training stages."""

from pathlib import Path
from typing import Any

from likelier.cli.answer import JSON, Result, answers
from likelier.cli.folders import run_folder
from likelier.cli.options import CONFIG, OUT, OVERRIDES, RESUME, SEED


@answers()
def sft(
    config: CONFIG,
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    """Teach a model a format from examples, or a small one the language from text."""
    return train("sft", config, overrides, out, resume, seed)


@answers()
def reward(
    config: CONFIG,
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    """Learn a score from preferences."""
    return train("reward", config, overrides, out, resume, seed)


@answers()
def dpo(
    config: CONFIG,
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    """Fine-tune a model on preferences directly, as a baseline."""
    return train("dpo", config, overrides, out, resume, seed)


@answers()
def ppo(
    config: CONFIG,
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    """Fine-tune a model against a reward."""
    return train("ppo", config, overrides, out, resume, seed)


def train(
    verb: str, path: Path, overrides: list[str] | None, out: Path | None, resume: str, seed: int | None
) -> dict[str, Any]:
    """Read the settings, open the run's folder, train; what the stage found."""
    from likelier.runs.shared import shared_run
    from likelier.stages import trainer_of

    config = load(path, overrides, seed)
    folder = run_folder(path.stem, out, resume)
    trainer = trainer_of(verb)
    with shared_run(folder, verb, config, resume) as run:
        result: dict[str, Any] = trainer(config, run)
    return result


def load(path: Path, overrides: list[str] | None, seed: int | None) -> Any:
    """The settings of a file, `key=value` and `--seed`."""
    from likelier.config import load_config

    return load_config(path, [*(overrides or []), *([] if seed is None else [f"seed={seed}"])])
