"""Output of commands: the result on stdout, as one JSON line or as text; everything else on stderr."""

import contextlib
import functools
import json as jsonlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.terminal import echo

Result = Mapping[str, Any]
JSON = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on one line.")]


def result_command(
    show: Callable[[Result], None] | None = None,
) -> Callable[[Callable[..., Result]], Callable[..., None]]:
    """Turn a function that returns a result into a command.

    The result is printed as JSON with `--json`, else by `show` (default: one line per key).
    """

    def wrap(work: Callable[..., Result]) -> Callable[..., None]:
        @functools.wraps(work)
        def command(*args: Any, json: bool, **kwargs: Any) -> None:
            with contextlib.redirect_stdout(sys.stderr):
                disable_plain_progress(json)
                result = work(*args, json=json, **kwargs)
            write_stdout((lambda: echo(to_json(result))) if json else (lambda: (show or show_lines)(result)))

        return command

    return wrap


def disable_plain_progress(json: bool) -> None:
    """With --json print no progress outside a terminal, so that stderr holds at most one line, of a failure."""
    from likelier import progress

    progress.plain_lines = not json


def write_stdout(write: Callable[[], None]) -> None:
    """Call `write`, which prints; ignore it if the reader has closed the pipe."""
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def to_json(result: Result) -> str:
    """Serialise the result to one line of JSON."""
    return jsonlib.dumps(to_jsonable(result), ensure_ascii=False, allow_nan=False)


def to_jsonable(value: Any) -> Any:
    """Convert paths to strings, tuples to lists, and non-finite numbers to null."""
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def show_lines(result: Result) -> None:
    """Print one line per key; nested values are left to --json."""
    rows = {key: format_value(value) for key, value in result.items() if not is_nested(value)}
    width = max((len(key) for key in rows), default=0)
    for key, value in rows.items():
        echo(f"{key.replace('_', ' '):<{width}}  {value}")


def is_nested(value: Any) -> bool:
    """True for objects and for lists of them."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(is_nested, value)))


def format_value(value: Any) -> str:
    """Format a number to four digits, an interval as `low to high`, a missing value or an empty list as a dash."""
    if value is None or value == [] or value == ():
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        is_interval = len(value) == 2 and all(isinstance(end, float) for end in value)
        return (" to " if is_interval else ", ").join(map(format_value, value))
    return str(value)
