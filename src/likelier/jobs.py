"""Many jobs over a few processes: each job has one of its own, so that the crash of one ends no other."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from likelier.errors import exit_code

Job = TypeVar("Job")


class Asked:
    """What a signal asked for."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.told = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal lets what runs save and end; a second Ctrl-C ends it at once."""
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], None],
    log_of: Callable[[Job], Path],
    ended: Callable[[Job, int], None],
    workers: int,
    preload: Sequence[str],
    look: Callable[[], None] = lambda: None,
) -> int | None:
    """`work(job)` for each, in the order given, at most `workers` at once; `ended(job, exit code)` after each.

    `look()` is called several times a second meanwhile.

    Processes are forked from a server that has imported the modules `preload` and that of `work`; what they print goes
    to `log_of(job)`.
    Returns None, or the exit code of a signal that cut it short: then what ran has saved.
    """
    context = process_context([*preload, work.__module__])
    left = list(jobs)
    running: dict[object, tuple[Any, Job]] = {}
    with signals() as asked:
        try:
            while running or (left and not asked.number):
                while left and len(running) < workers and not asked.number:
                    job = left.pop(0)
                    process = context.Process(target=in_child, args=(work, job, log_of(job)))
                    process.start()
                    running[process.sentinel] = process, job
                look()
                for sentinel in wait([process.sentinel for process, _ in running.values()], timeout=0.2):
                    process, job = running.pop(sentinel)
                    process.join()
                    ended(job, process.exitcode or 0)
                if asked.number and not asked.told:
                    tell([process.pid for process, _ in running.values()])
                    asked.told = True
        finally:
            for process, _ in running.values():
                process.kill()
                process.join()
    return exit_code(asked.number) if asked.number else None


def process_context(preload: list[str]) -> Any:
    """Processes are forked from a server that has imported `preload`; on Windows, which cannot fork, spawned."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    return context


@contextlib.contextmanager
def signals() -> Iterator[Asked]:
    """SIGTERM and Ctrl-C are noted until the block ends."""
    asked = Asked()
    before = {number: signal.signal(number, asked.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(pids: Sequence[int | None]) -> None:
    """Ask processes to save and end."""
    print("finishing the current steps, then saving; Ctrl-C again stops at once", file=sys.stderr)
    for pid in pids:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def in_child(work: Callable[[Job], None], job: Job, log: Path) -> None:
    """A process of one job: Ctrl-C reaches it through its parent alone, and it does not outlive the parent."""
    if setsid := getattr(os, "setsid", None):  # Windows has no sessions
        setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=leave_with, args=(parent.sentinel,), daemon=True).start()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    work(job)


def leave_with(sentinel: int) -> None:
    """End at once with the parent, however it ended: checkpoints are whole or not there."""
    wait([sentinel])
    os._exit(1)
