"""`likelier` and `python -m likelier`: a signal ends them in one line from the first import on."""

import signal
import sys

from likelier.terminal.signals import end_on_signals, end_without_teardown


def main() -> int:
    """Run one command; returns its exit code, or ends the process if a signal has ended the command."""
    end_on_signals()
    from likelier.cli import main as run

    code = run()
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        end_without_teardown(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
