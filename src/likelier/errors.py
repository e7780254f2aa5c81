"""The mistakes a user can make, each with the exit code that the command line gives it."""

import errno
import signal
from pathlib import Path


class LikelierError(Exception):
    """A failure with one line for the user: what is wrong, where, and what to do. Exit code 1."""

    exit_code = 1


class ConfigError(LikelierError):
    """Wrong usage or a wrong setting. Exit code 2."""

    exit_code = 2


class DataError(LikelierError):
    """A data file, database or model folder that cannot be used. Exit code 3."""

    exit_code = 3


class NumericError(LikelierError):
    """Numbers not finite, or not to be trusted: training stopped before they reached the weights. Exit code 4."""

    exit_code = 4


class Terminated(SystemExit):
    """SIGTERM where there is nothing to save; a user's own `sys.exit` is a plain SystemExit. Exit code 143."""

    def __init__(self) -> None:
        super().__init__(143)


class Stopped(LikelierError):
    """SIGTERM or Ctrl-C ended a run after a good checkpoint. Exit code 75 or 130."""

    def __init__(self, reason: str, exit_code: int = 75, resume: str = "") -> None:
        """`resume`: what the user types to continue."""
        super().__init__(f"{reason}; go on with: {resume}" if resume else reason)
        self.reason, self.exit_code, self.resume = reason, exit_code, resume


UNUSABLE = frozenset(
    (
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    )
)
"""What makes a path unusable as it was given: another one is needed. A full or a failing disk is no wrong usage."""


def cannot_write(path: Path, error: OSError, advice: str = "") -> LikelierError:
    """ConfigError: nothing can be written at this path. LikelierError: writing failed."""
    kind = ConfigError if error.errno in UNUSABLE else LikelierError
    return kind(f"{path}: cannot be written ({error.strerror}){advice}")


def exit_code(signal_number: int) -> int:
    """The exit code after a good checkpoint: 75 for SIGTERM, 130 for Ctrl-C."""
    return 75 if signal_number == signal.SIGTERM else 130
