"""Progress of long jobs on stderr: a bar with the remaining time in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from likelier.terminal import escape_controls, print_stderr

SECONDS_BETWEEN_LINES = 15.0
plain_lines = True
"""False with --json: stderr then holds at most the one line of a failure."""


def print_note(line: str) -> None:
    """Print a line on stderr while no bar is shown; nothing with --json."""
    if plain_lines:
        print_stderr(line)


class ProgressBar:
    """A bar of `total` steps, or plain lines where there is no terminal."""

    def __init__(self, name: str, total: int, bars: Progress | None) -> None:
        self.name, self.total, self.bars = escape_controls(name), total, bars
        self.done = 0
        self.task = bars.add_task(self.name, total=total, note="") if bars else None
        self.began = self.last_line = time.monotonic()
        self.skipped = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Advance by `steps`; `note`, such as `score 1.2`, is shown after the bar."""
        self.done += steps
        if self.bars and self.task is not None:
            self.bars.update(self.task, advance=steps, note=escape_controls(note))
        elif plain_lines and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            print_stderr(f"{self.name}: {self.done}/{self.total}{self.describe_time_left()} {note}".rstrip())
            self.last_line = time.monotonic()

    def skip(self, steps: int) -> None:
        """Count steps that an earlier process has done."""
        self.skipped += steps
        self.advance(steps)

    def describe_time_left(self) -> str:
        """Return the estimated time left as `, 3 min left`; empty if it is below a minute or unknown."""
        done = self.done - self.skipped
        seconds = (time.monotonic() - self.began) / done * (self.total - self.done) if done > 0 else 0.0
        return f", {seconds / 60:.0f} min left" if seconds >= 60 else ""

    def say(self, line: str) -> None:
        """Print a permanent line above the bar."""
        if self.bars:
            self.bars.console.print(escape_controls(line), markup=False, highlight=False)
        else:
            print_note(line)


@contextmanager
def progress(name: str, total: int) -> Iterator[ProgressBar]:
    """Show the progress of `total` steps until the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressBar(name, total, None)
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=False) as bars:
        yield ProgressBar(name, total, bars)
