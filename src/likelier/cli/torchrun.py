"""`torchrun ... -m likelier ppo ...`: decide which of the processes prints, and which reports an error."""

import contextlib
import os
import time
from collections.abc import Iterator

from likelier.errors import ConfigError, DataError, LikelierError, NumericError, Stopped, Terminated
from likelier.runs.torchrun import torchrun_rank
from likelier.stages import STAGES

WAIT_SECONDS = 5.0
"""How long a process waits for another to report the error first."""


def check_verb(verb: str) -> None:
    """ConfigError: torchrun started several processes for a command that runs in one."""
    _, size = torchrun_rank()
    distributed = [stage.verb for stage in STAGES.values() if stage.distributed]
    if size > 1 and verb not in distributed:
        line = f"runs in one process, and torchrun started {size}; only {', '.join(distributed)} run in several"
        raise ConfigError(f"{verb}: {line}")


@contextlib.contextmanager
def silence_other_ranks() -> Iterator[None]:
    """Discard the output of all ranks but 0."""
    rank, _ = torchrun_rank()
    with contextlib.ExitStack() as stack:
        if rank > 0:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def should_report(error: BaseException) -> bool:
    """True if this process should print its error; waits for processes that have a more specific one.

    torchrun kills all processes as soon as one exits. An error in all of them, such as an invalid setting, is reported
    by rank 0; the others wait, and report only if they are not killed meanwhile. LostProcess is reported last, since
    the lost process has the more specific error.
    """
    rank, size = torchrun_rank()
    if size == 1:
        return True
    if isinstance(error, Stopped | Terminated | KeyboardInterrupt):
        return rank == 0
    if is_lost_process(error):
        wait_unless_terminated(2 * WAIT_SECONDS)
        return rank == 0
    is_shared = isinstance(error, ConfigError | DataError | NumericError)
    return rank == 0 or not is_shared or wait_unless_terminated(WAIT_SECONDS)


def is_lost_process(error: BaseException) -> bool:
    """True for LostProcess; does not import torch."""
    if not isinstance(error, LikelierError):
        return False
    from likelier.distributed import LostProcess

    return isinstance(error, LostProcess)


def wait_unless_terminated(seconds: float) -> bool:
    """Wait, then return True; False as soon as SIGTERM arrives."""
    try:
        time.sleep(seconds)
    except Terminated:
        return False
    return True
