"""How far a long job is, on stderr: a bar with the time left in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15.0
plain_lines = True
"""The command line turns plain lines off with --json, where stderr holds at most the one line of a failure."""


def note(line: str) -> None:
    """A remark before there is a bar. With --json the result says it."""
    if plain_lines:
        print(line, file=sys.stderr, flush=True)


class Job:
    """One bar; `advance` moves it, with a note such as `score 1.2` behind it."""

    def __init__(self, name: str, total: int, bars: Progress | None) -> None:
        self.name, self.total, self.done, self.bars = name, total, 0, bars
        self.task = bars.add_task(name, total=total, note="") if bars else None
        self.last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.bars and self.task is not None:
            self.bars.update(self.task, advance=steps, note=note)
        elif plain_lines and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            print(f"{self.name}: {self.done}/{self.total} {note}".rstrip(), file=sys.stderr, flush=True)
            self.last_line = time.monotonic()

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        if self.bars:
            self.bars.console.print(line, markup=False, highlight=False)
        else:
            note(line)


@contextmanager
def progress(name: str, total: int) -> Iterator[Job]:
    """A job of `total` steps, shown until the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Job(name, total, None)
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=False) as bars:
        yield Job(name, total, bars)
