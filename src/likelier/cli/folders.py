"""Output folders of commands that do not resume from a checkpoint: new ones, and those of circles and searches."""

from pathlib import Path

from likelier.errors import ConfigError
from likelier.runs.naming import run_folder


def new_folder(name: str, out: Path | None) -> Path:
    """Return an empty or not yet existing folder. ConfigError: `out` is not empty, or is a file."""
    folder = run_folder(name, out, "never")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file stands here; give another --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; give another --out")
    return folder


def circle_folder(name: str, out: Path | None, resume: str) -> Path:
    """The folder of a circle or search. `--resume PATH` names that folder, since neither has checkpoints of its own."""
    if resume == "never":
        return new_folder(name, out)
    return run_folder(name, out or (None if resume == "auto" else Path(resume)), resume)
