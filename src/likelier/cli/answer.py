"""How a verb answers: its result on stdout, as one JSON line or for people; whatever it prints meanwhile on stderr."""

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

Result = Mapping[str, Any]
JSON = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on one line.")]


def answers(show: Callable[[Result], None] | None = None) -> Callable[[Callable[..., Result]], Callable[..., None]]:
    """Make a verb of a function that returns a result; `show` prints it for people (by default one line a key)."""

    def wrap(work: Callable[..., Result]) -> Callable[..., None]:
        @functools.wraps(work)
        def verb(*args: Any, json: bool, **kwargs: Any) -> None:
            with contextlib.redirect_stdout(sys.stderr):
                keep_lines_away(json)
                result = work(*args, json=json, **kwargs)
            say((lambda: print(one_line(result))) if json else (lambda: (show or show_plainly)(result)))

        return verb

    return wrap


def keep_lines_away(json: bool) -> None:
    """With --json, stderr holds at most the one line of a failure: no lines of progress where there is no terminal."""
    from likelier import progress

    progress.plain_lines = not json


def say(write: Callable[[], None]) -> None:
    """Write to stdout; a reader that has gone away is no failure."""
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(result: Result) -> str:
    return jsonlib.dumps(jsonable(result), ensure_ascii=False, allow_nan=False)


def jsonable(value: Any) -> Any:
    """Paths as strings, tuples as lists, what is not a finite number as null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def show_plainly(result: Result) -> None:
    """One line a key; what is nested stays for --json."""
    rows = {key: readable(value) for key, value in result.items() if not nested(value)}
    width = max((len(key) for key in rows), default=0)
    for key, value in rows.items():
        print(f"{key.replace('_', ' '):<{width}}  {value}")


def nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(nested, value)))


def readable(value: Any) -> str:
    """Four digits of a number, `low to high` of an interval, a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        numbers = len(value) == 2 and all(isinstance(each, float) for each in value)
        return (" to " if numbers else ", ").join(map(readable, value))
    return str(value)
