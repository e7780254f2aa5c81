"""Several requests under way at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from likelier.errors import LikelierError
from likelier.progress import progress

T = TypeVar("T")


def run_together(calls: Sequence[Callable[[], T]], at_once: int, title: str) -> list[T]:
    """Return what the calls return, `at_once` of them running together, in their order, with a bar of this title.

    LikelierError: of the first call that raises one; those that wait are not begun, and those that run are not waited
    for.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        waiting = [pool.submit(call) for call in calls]
        with progress(title, len(calls)) as job:
            for done in as_completed(waiting):
                done.result()
                job.advance()
        return [done.result() for done in waiting]
    except LikelierError:
        pool.shutdown(cancel_futures=True)  # what is being answered is paid for
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
