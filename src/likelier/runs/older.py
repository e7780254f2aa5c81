"""Runs that an older version began and that go on here: what they read must stay as it was."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from likelier.runs.record import NOT_COMPARED, read_run_json

GOES_ON: ContextVar[bool] = ContextVar("GOES_ON", default=False)
"""True while a run that an older version began is trained in this process."""


def was_begun_by_older(folder: Path) -> bool:
    """True for a run that was resumed from a checkpoint of a version that recorded no inputs."""
    changes = read_run_json(folder).get("changes")
    entries = changes if isinstance(changes, list) else []
    return any(isinstance(entry, dict) and NOT_COMPARED.items() <= entry.items() for entry in entries)


@contextlib.contextmanager
def go_on_from(checkpoint: Path | None) -> Iterator[None]:
    """Set `GOES_ON` while a run is trained; `checkpoint` lies in the folder of rank 0, which recorded the resume."""
    token = GOES_ON.set(checkpoint is not None and was_begun_by_older(checkpoint.resolve().parent))
    try:
        yield
    finally:
        GOES_ON.reset(token)
