"""Output folders of commands that do not resume from a checkpoint: new ones, and those of circles and searches."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from likelier.errors import ConfigError, Stopped, Terminated, exit_code
from likelier.runs.folder import LOCK, is_unused, make_folder, remove_created, take_lock
from likelier.runs.lock import find_signal
from likelier.runs.naming import run_folder


def new_folder(name: str, out: Path | None) -> Path:
    """Return an empty or not yet existing folder. ConfigError: `out` is not empty, or is a file."""
    folder = run_folder(name, out, "never")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file stands here; give another --out")
    if not is_unused(folder):
        raise ConfigError(f"{folder}: not empty; give another --out")
    return folder


def circle_folder(name: str, out: Path | None, resume: str) -> Path:
    """The folder of a circle or search. `--resume PATH` names that folder, since neither has checkpoints of its own."""
    if resume == "never":
        return new_folder(name, out)
    return run_folder(name, out or (None if resume == "auto" else Path(resume)), resume)


@contextlib.contextmanager
def hold_evaluation_folder(name: str, out: Path | None, parts: Sequence[str]) -> Iterator[Path]:
    """Hold a new folder, or the one where an evaluation was stopped: it holds none but `parts`, the first among them.

    Without `out` that is the newest of this name. A folder where nothing was kept is removed after a failure.
    ConfigError: as for `new_folder`, or another process has the folder. Stopped: after a signal, with batches kept.
    """
    newest = run_folder(name, out, "auto")
    folder = newest if is_stopped(newest, parts) and (out or not is_locked(newest)) else new_folder(name, out)
    made = make_folder(folder)
    lock = take_lock(folder)
    try:
        yield folder
    except BaseException as error:
        if is_unused(folder):
            remove_created(folder, made)
        elif isinstance(error, KeyboardInterrupt | Terminated):
            words = sys.argv[1:] if out else [*sys.argv[1:], "--out", str(folder)]
            raise Stopped("stopped", exit_code(find_signal(error)), shlex.join(["likelier", *words])) from error
        raise
    finally:
        os.close(lock)


def is_stopped(folder: Path, parts: Sequence[str]) -> bool:
    """True if the folder holds the first of `parts`, and nothing but these and a lock."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return parts[0] in names and names <= {*parts, LOCK}


def is_locked(folder: Path) -> bool:
    """True while another process holds the folder."""
    try:
        os.close(take_lock(folder))
    except ConfigError:
        return True
    return False
