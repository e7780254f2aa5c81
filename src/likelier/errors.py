"""Exceptions for failures that a user can act on, each with its exit code."""

import errno
import signal
from pathlib import Path

from likelier.addresses import hide_secrets


class LikelierError(Exception):
    """A failure with a one-line message: what is wrong, where, and what to do. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        """Keep the message without the passwords of addresses in it."""
        super().__init__(hide_secrets(message))


class ConfigError(LikelierError):
    """Invalid usage or setting. Exit code 2."""

    exit_code = 2


class DataError(LikelierError):
    """An unusable data file, database or model folder. Exit code 3."""

    exit_code = 3


class UnknownFormatError(DataError):
    """A data file in no known format; `example` is a record of the nearest one, of a few lines."""

    def __init__(self, message: str, example: str) -> None:
        super().__init__(message)
        self.example = example


class NumericError(LikelierError):
    """Non-finite or unreliable numbers; training stopped before they reached the weights. Exit code 4."""

    exit_code = 4


class Terminated(SystemExit):
    """SIGTERM with nothing to save; a user's own `sys.exit` is a plain SystemExit. Exit code 143."""

    def __init__(self) -> None:
        super().__init__(143)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. After a plain KeyboardInterrupt in `exec`, which dataclasses use, Python ends by SIGINT, not by 130."""


class Stopped(LikelierError):
    """A run ended by SIGTERM or Ctrl-C after a complete checkpoint. Exit code 75 or 130."""

    def __init__(self, reason: str, exit_code: int = 75, resume: str = "") -> None:
        """Store the signal's description; `resume` is the command that continues the run."""
        super().__init__(f"{reason}; go on with: {resume}" if resume else reason)
        self.reason, self.exit_code, self.resume = reason, exit_code, resume


UNUSABLE_PATH_ERRORS = frozenset(
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
"""Errors that only another path can fix. A full or failing disk is not invalid usage."""


def cannot_write(path: Path, error: OSError, advice: str = "") -> LikelierError:
    """Return a ConfigError if the path cannot be written to, or a LikelierError if writing failed."""
    error_class = ConfigError if error.errno in UNUSABLE_PATH_ERRORS else LikelierError
    return error_class(f"{path}: cannot be written ({error.strerror}){advice}")


def exit_code(signal_number: int) -> int:
    """Return the exit code after a complete checkpoint: 75 for SIGTERM, 130 for Ctrl-C."""
    return 75 if signal_number == signal.SIGTERM else 130
