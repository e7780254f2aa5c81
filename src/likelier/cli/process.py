"""The process of a command: its streams, SIGTERM, other libraries' messages, and an exit code for every ending."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from likelier.cli import torchrun
from likelier.cli.failures import explain_failure
from likelier.errors import Terminated
from likelier.terminal import print_stderr


def run_reporting_failures(work: Callable[[], int], words: Sequence[str]) -> int:
    """The exit code of `work`; an exception becomes one line on stderr and the exit code of its kind."""
    silence_libraries()
    replace_closed_streams()
    with raise_on_sigterm():
        try:
            with torchrun.silence_other_ranks():
                return work()
        except BaseException as error:
            if is_closed_pipe(error):
                return 0
            line, code = explain_failure(error, words)
            if torchrun.should_report(error):
                print_error(line)
            return code


def print_error(line: str) -> None:
    """Print a message on stderr as one line; a stderr that cannot be written to is no further failure."""
    with contextlib.suppress(OSError):
        print_stderr("likelier: " + " ".join(line.split()))


def is_closed_pipe(error: BaseException) -> bool:
    """True if rich ended the help because its reader has closed the pipe (`likelier --help | head`)."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)


def replace_closed_streams() -> None:
    """Discard what is written to stdout or stderr if the shell has closed them (`>&-`); Python has None there."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def silence_libraries() -> None:
    """Turn off other libraries' progress bars and warnings, unless the user's environment asks for them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated, so that half-written files are removed. A training run handles it by itself."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    handler = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
