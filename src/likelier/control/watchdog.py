"""Stops a run whose environment hangs in a step or reset."""

import _thread
import os
import signal
import threading
import time
from types import FrameType
from typing import Self

from likelier.errors import LikelierError
from likelier.terminal import print_stderr

WAKE_SIGNAL: signal.Signals = getattr(signal, "SIGUSR2", signal.SIGABRT)
"""Wakes the main thread. Windows has no SIGUSR2; there the handler of SIGABRT is called, without the signal."""
GRACE_SECONDS = 5.0
"""Time for the interpreter to raise in the main thread; native code that never returns to it is killed after this."""


class Watchdog:
    """Raises in the main thread once a call takes too long. A context manager around all calls.

    A daemon thread watches the clock; a signal interrupts the main thread, even in `sleep` or a Python loop. Signals
    cannot interrupt other threads: a call that hangs there is only reported on stderr.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = float("inf")
        self.label = ""
        self.finished = threading.Event()
        self.interrupts = threading.current_thread() is threading.main_thread()

    def start(self, label: str) -> None:
        """Start the clock for one call; `label` names it in the error."""
        self.label = label
        self.deadline = time.monotonic() + self.seconds

    def stop(self) -> None:
        """Stop the clock when the call has returned."""
        self.deadline = float("inf")

    def __enter__(self) -> Self:
        if self.interrupts:
            self.handler = signal.signal(WAKE_SIGNAL, self.on_signal)
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.finished.set()
        if self.interrupts:
            signal.signal(WAKE_SIGNAL, self.handler)

    def watch(self) -> None:
        """Target of the thread: interrupt the main thread once the deadline has passed."""
        while not self.finished.wait(min(1.0, self.seconds / 4)):
            if time.monotonic() < self.deadline:
                continue
            if not self.interrupts:
                print_stderr(f"likelier: {self.message()}")
                return
            wake_main_thread()
            if not self.finished.wait(GRACE_SECONDS) and time.monotonic() > self.deadline:
                print_stderr(f"likelier: {self.message()}")
                os._exit(1)

    def message(self) -> str:
        """The error message, one line."""
        return (
            f"{self.label}: did not come back in {self.seconds:g} seconds; "
            "mend the environment or raise gym.step_timeout_seconds"
        )

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise in the main thread, unless the call has returned meanwhile."""
        if time.monotonic() >= self.deadline:
            raise LikelierError(self.message())


def wake_main_thread() -> None:
    """Run the handler of `WAKE_SIGNAL` in the main thread; where signals exist, also interrupting a blocking call."""
    main = threading.main_thread().ident
    assert main is not None
    if send := getattr(signal, "pthread_kill", None):
        send(main, WAKE_SIGNAL)
    else:  # Windows: after the call, or never, then the grace ends
        _thread.interrupt_main(WAKE_SIGNAL)
