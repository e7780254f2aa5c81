"""`torchrun ... -m likelier ppo ...`: which of the processes speaks, and of what."""

import contextlib
import os
import time
from collections.abc import Iterator

from likelier.errors import ConfigError, DataError, LikelierError, NumericError, Stopped, Terminated
from likelier.runs.torchrun import torchrun_rank
from likelier.stages import STAGES

SECONDS_FOR_OTHERS = 5.0
"""How long a process waits for another to say what is wrong."""


def check_verb(verb: str) -> None:
    """ConfigError: several processes were started for what only one can do."""
    _, size = torchrun_rank()
    distributed = [stage.verb for stage in STAGES.values() if stage.distributed]
    if size > 1 and verb not in distributed:
        line = f"runs in one process, and torchrun started {size}; only {', '.join(distributed)} divides"
        raise ConfigError(f"{verb}: {line}")


@contextlib.contextmanager
def silence_other_ranks() -> Iterator[None]:
    """All processes but the first print nothing."""
    rank, _ = torchrun_rank()
    with contextlib.ExitStack() as stack:
        if rank > 0:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def should_report(error: BaseException) -> bool:
    """Whether this process says what ended it, after it gave those a chance that know more.

    torchrun ends all processes as soon as one has ended. What all meet alike (a wrong setting, say) the first one says;
    the others wait for it, and speak only where it does not. That another process is lost is news of last resort.
    """
    rank, size = torchrun_rank()
    if size == 1:
        return True
    if isinstance(error, Stopped | Terminated | KeyboardInterrupt):
        return rank == 0
    if is_lost_process(error):
        wait_unless_terminated(2 * SECONDS_FOR_OTHERS)
        return rank == 0
    met_by_all = isinstance(error, ConfigError | DataError | NumericError)
    return rank == 0 or not met_by_all or wait_unless_terminated(SECONDS_FOR_OTHERS)


def is_lost_process(error: BaseException) -> bool:
    if not isinstance(error, LikelierError):
        return False
    from likelier.distributed import LostProcess

    return isinstance(error, LostProcess)


def wait_unless_terminated(seconds: float) -> bool:
    """Wait; False as soon as SIGTERM says that all is over."""
    try:
        time.sleep(seconds)
    except Terminated:
        return False
    return True
