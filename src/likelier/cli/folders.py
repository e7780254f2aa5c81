"""Where a verb that takes no checkpoint writes: a new folder, or a circle's own."""

from pathlib import Path

from likelier.errors import ConfigError
from likelier.runs.naming import run_folder


def fresh_folder(name: str, out: Path | None) -> Path:
    """A folder with nothing in it yet. ConfigError: `out` holds something, or is a file."""
    folder = run_folder(name, out, "never")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file stands here; give another --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; give another --out")
    return folder


def circle_folder(name: str, out: Path | None, resume: str) -> Path:
    """Where the circle goes on, or begins. What `--resume` names is a circle's own folder: it holds no checkpoints."""
    if resume == "never":
        return fresh_folder(name, out)
    return run_folder(name, out or (None if resume == "auto" else Path(resume)), resume)
