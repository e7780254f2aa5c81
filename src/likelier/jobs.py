"""Run jobs in parallel, each in its own process, so that one crash does not end the others."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from likelier.errors import LikelierError, exit_code
from likelier.terminal import print_stderr

Job = TypeVar("Job")
Result = TypeVar("Result")


class StopRequest:
    """The signal that asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.forwarded = False
        """True once the jobs have been asked to stop."""

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. After the first signal jobs save and exit; a second Ctrl-C ends them at once."""
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], None],
    log_of: Callable[[Job], Path],
    on_exit: Callable[[Job, int], None],
    workers: int,
    preload: Sequence[str],
    poll: Callable[[], None] = lambda: None,
) -> int | None:
    """Call `work(job)` for each job, in the order given, at most `workers` at once.

    Processes are forked from a server that has imported the modules `preload` and that of `work`; their output goes to
    the file `log_of(job)`. `on_exit(job, exit code)` is called after each, `poll()` several times a second. Returns
    None, or the exit code of the signal that interrupted it, after the running jobs have saved.
    """
    context = process_context([*preload, work.__module__])
    left = list(jobs)
    running: dict[object, tuple[Any, Job]] = {}
    with catch_stop_signals() as stop:
        try:
            while running or (left and not stop.signal):
                while left and len(running) < workers and not stop.signal:
                    job = left.pop(0)
                    process = context.Process(target=run_child, args=(work, job, log_of(job)))
                    process.start()
                    running[process.sentinel] = process, job
                poll()
                for sentinel in wait([process.sentinel for process, _ in running.values()], timeout=0.2):
                    process, job = running.pop(sentinel)
                    process.join()
                    on_exit(job, process.exitcode or 0)
                if stop.signal and not stop.forwarded:
                    terminate([process.pid for process, _ in running.values()])
                    stop.forwarded = True
        finally:
            for process, _ in running.values():
                process.kill()
                process.join()
    return exit_code(stop.signal) if stop.signal else None


def map_in_processes(
    work: Callable[[Job], Result], items: Sequence[Job], workers: int, initializer: Callable[[], object]
) -> Generator[Result]:
    """Yield `work(item)` for each item in order, computed in `workers` processes that call `initializer` first.

    The processes end at once when the generator is closed or this process ends, however it ends.
    LikelierError: one of them was killed.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin_worker, (initializer,))
    try:
        with hold_back_interrupts():
            futures = [pool.submit(work, item) for item in items]
        for future in futures:
            yield future.result()
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        if isinstance(error, BrokenProcessPool):
            raise LikelierError("one of the processes was killed (out of memory?); run it again") from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def hold_back_interrupts() -> Iterator[None]:
    """Processes that are started in this block never get Ctrl-C, which a terminal sends to all: they hold it blocked.

    This process gets it after the block. The mask is for the children, which inherit it; where this process has other
    threads one of them receives the signal all the same, and Python would raise it here at once: so it is noted.
    """
    block = getattr(signal, "pthread_sigmask", None)  # Windows has none
    if not block or threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    mask = block(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        block(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if noted:
            signal.raise_signal(signal.SIGINT)


def begin_worker(begin: Callable[[], object]) -> None:
    """Prepare a process of `map_in_processes`."""
    end_with_parent()
    begin()


def end_with_parent() -> None:
    """End this process at once when its parent ends, by `kill -9` too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def process_context(preload: list[str]) -> Any:
    """Make a context that forks processes from a server which has imported `preload`; on Windows it spawns them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    return context


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Record SIGTERM and Ctrl-C, instead of exiting, until the block ends."""
    stop = StopRequest()
    handlers = {number: signal.signal(number, stop.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def terminate(pids: Sequence[int | None]) -> None:
    """Ask processes to save and end."""
    print_stderr("finishing the current steps, then saving; Ctrl-C again stops at once")
    for pid in pids:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def run_child(work: Callable[[Job], None], job: Job, log: Path) -> None:
    """Run one job in this process, with Ctrl-C ignored (the parent handles it); exits when the parent does."""
    if setsid := getattr(os, "setsid", None):  # Windows has no sessions
        setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    work(job)


def exit_with_parent(sentinel: int) -> None:
    """Wait until the parent exits, then exit at once; safe because checkpoints are atomic."""
    wait([sentinel])
    os._exit(1)
