"""Ends a run whose environment does not come back from a step."""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Self

from likelier.errors import LikelierError

GRACE_SECONDS = 5.0
"""What is left to the interpreter to end the run by itself; code that never returns to it is cut off after this."""


class Watchdog:
    """Raises in the main thread once a call has taken too long. A context manager around all calls.

    A thread looks at the clock; a signal wakes the main thread, also out of `sleep` and out of a Python loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = float("inf")
        self.what = ""
        self.finished = threading.Event()

    def start(self, what: str) -> None:
        """A call begins; `what` is said if it takes too long."""
        self.what = what
        self.deadline = time.monotonic() + self.seconds

    def stop(self) -> None:
        self.deadline = float("inf")

    def __enter__(self) -> Self:
        self.handler = signal.signal(signal.SIGUSR2, self.on_signal)
        threading.Thread(target=self.look, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.finished.set()
        signal.signal(signal.SIGUSR2, self.handler)

    def look(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self.finished.wait(min(1.0, self.seconds / 4)):
            if time.monotonic() < self.deadline:
                continue
            signal.pthread_kill(main, signal.SIGUSR2)
            if not self.finished.wait(GRACE_SECONDS) and time.monotonic() > self.deadline:
                print(f"likelier: {self.message()}", file=sys.stderr, flush=True)
                os._exit(1)

    def message(self) -> str:
        return (
            f"{self.what}: did not come back in {self.seconds:g} seconds; "
            "mend the environment or raise gym.step_timeout_seconds"
        )

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() >= self.deadline:
            raise LikelierError(self.message())
