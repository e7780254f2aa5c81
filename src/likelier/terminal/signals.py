"""Ends the process in one line where a signal cannot be raised as an exception: while modules are imported."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

LINES = {
    signal.SIGINT: b"likelier: stopped by Ctrl-C\n",
    signal.SIGTERM: b"likelier: stopped by SIGTERM; nothing was there to save\n",
}
DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Python's own handlers."""
IMPORT_SYSTEM = "<frozen importlib._bootstrap>"
"""File name in the frames of the import system."""


def end_on_signals() -> None:
    """Let signals end the process at once from now on, until a command handles them itself."""
    for number, default in DEFAULTS.items():
        if signal.getsignal(number) == default:  # else the shell had it ignored, as for a job in the background
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process: nothing has begun that must be tidied. Of several processes only the first says so."""
    if os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError):
            os.write(2, LINES[signal.Signals(number)])
    os._exit(128 + number)


def is_importing(frame: FrameType | None) -> bool:
    """True if a module is being imported: an exception raised there may be swallowed by foreign code and lost."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False


def end_without_teardown(code: int) -> NoReturn:
    """End the process without what Python and libraries do at exit, which takes seconds or waits for other threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
