"""Process-level handling of a command: streams, SIGTERM, other libraries' messages, exit codes."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from likelier.addresses import hide_secrets
from likelier.cli import torchrun
from likelier.cli.failures import explain_failure
from likelier.errors import Interrupted, Terminated, UnknownFormatError
from likelier.progress import print_note
from likelier.terminal import print_stderr
from likelier.terminal.signals import end_at_once, is_importing


def run_reporting_failures(work: Callable[[], int], argv: Sequence[str]) -> int:
    """Run `work` and return its exit code; an exception becomes one line on stderr and an exit code."""
    silence_libraries()
    replace_closed_streams()
    with raise_on_signals():
        try:
            with torchrun.silence_other_ranks():
                return work()
        except BaseException as error:
            if is_closed_pipe(error):
                return 0
            line, code = explain_failure(error, argv)
            if torchrun.should_report(error):
                print_error(line)
                if isinstance(error, UnknownFormatError):
                    print_note(error.example)
            return code


def print_error(line: str) -> None:
    """Print a message on stderr as one line; ignore it if stderr cannot be written to."""
    with contextlib.suppress(OSError):
        print_stderr("likelier: " + " ".join(hide_secrets(line).split()))


def is_closed_pipe(error: BaseException) -> bool:
    """True if rich stopped printing the help because its reader closed the pipe (`likelier --help | head`)."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)


def replace_closed_streams() -> None:
    """Replace stdout and stderr by the null device if the shell closed them (`>&-`); Python sets them to None then."""
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
def raise_on_signals() -> Iterator[None]:
    """Raise Terminated on SIGTERM and Interrupted on Ctrl-C, so that partial files are removed.

    Training runs install handlers of their own. During imports both signals end the process at once. If the shell
    ignores Ctrl-C, it stays ignored.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        if is_importing(frame):
            end_at_once(number, frame)
        raise Terminated

    def interrupt(number: int, frame: FrameType | None) -> None:
        if is_importing(frame):
            end_at_once(number, frame)
        raise Interrupted

    handlers = {signal.SIGTERM: signal.signal(signal.SIGTERM, terminate)}
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        handlers[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
