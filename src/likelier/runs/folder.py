"""Making, locking and removing the folder of a run."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from likelier.errors import ConfigError, LikelierError, cannot_write


def make_folder(folder: Path) -> list[Path]:
    """Make a folder; returns what was not there before: it and its parents, the innermost first."""
    made: list[Path] = []
    try:
        made += [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(made)
        raise cannot_write(folder, error, "; give another --out") from error
    return made


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those that are there and hold nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_made(folder: Path, made: Sequence[Path]) -> None:
    """Remove a folder with all that is in it, then those of its new parents that nothing else has come into."""
    shutil.rmtree(folder)
    remove_empty(made[1:])


def take_lock(folder: Path) -> int:
    """Hold the folder for this process. ConfigError: another one trains in it."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{folder}: another process is training in this folder") from error
    except OSError as error:
        raise cannot_write(folder, error, "; give another --out") from error
    return lock


def disk_trouble(folder: Path, error: OSError) -> LikelierError:
    return LikelierError(f"{folder}: cannot write ({error.strerror}); older checkpoints stand; make room and resume")
