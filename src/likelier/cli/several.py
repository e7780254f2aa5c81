"""`torchrun ... -m likelier ppo ...`: which of the processes speaks, and of what."""

import contextlib
import os
from collections.abc import Iterator

from likelier.errors import ConfigError, DataError, NumericError, Stopped, Terminated

VERBS = ("ppo",)
"""What can be divided among processes."""


def place_in_world() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says them; (0, 1) without it."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def check_verb(verb: str) -> None:
    """ConfigError: several processes were started for what only one can do."""
    _, size = place_in_world()
    if size > 1 and verb not in VERBS:
        raise ConfigError(f"{verb}: runs in one process, and torchrun started {size}; only {', '.join(VERBS)} divides")


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """All processes but the first print nothing."""
    rank, _ = place_in_world()
    with contextlib.ExitStack() as stack:
        if rank > 0:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def speaks_of(error: BaseException) -> bool:
    """Whether this process says what ended it. What all processes meet alike, the first one of a machine says; that the
    others are gone, or that the user stopped them, the first of all.
    """
    rank, _ = place_in_world()
    if rank == 0:
        return True
    if isinstance(error, ConfigError | DataError | NumericError):
        return os.environ.get("LOCAL_RANK") == "0"
    told_elsewhere = isinstance(error, Stopped | Terminated | KeyboardInterrupt) or is_lost_process(error)
    return not told_elsewhere


def is_lost_process(error: BaseException) -> bool:
    from likelier.ppo.processes import LostProcess

    return isinstance(error, LostProcess)
