"""Holds the folder of several runs, a circle's, while they go on."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from likelier.errors import Stopped, Terminated, exit_code
from likelier.runs.folder import is_unused, make_folder, remove_created, take_lock
from likelier.runs.naming import resume_command


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a circle's folder, after removing the temporary files of a killed process.

    Stopped: after a signal; finished stages stay. A new folder is removed if nothing was sampled yet, and no model of
    pictures begun (`start`).
    """
    made, is_new = make_folder(folder), is_unused(folder)
    lock = take_lock(folder)
    try:
        for leftover in filter(Path.is_file, folder.rglob(".*.tmp")):
            leftover.unlink()
        yield
    except BaseException as error:
        if is_new and not (any(folder.rglob("candidates.json")) or (folder / "start").is_dir()):
            remove_created(folder, made)
        elif isinstance(error, Stopped | KeyboardInterrupt | Terminated):
            raise Stopped("stopped", exit_code(find_signal(error)), resume_command(folder)) from error
        raise
    finally:
        os.close(lock)


def find_signal(error: BaseException) -> int:
    """Return the signal that ended the work."""
    by_hand = isinstance(error, KeyboardInterrupt) or (isinstance(error, Stopped) and error.exit_code == 130)
    return signal.SIGINT if by_hand else signal.SIGTERM
