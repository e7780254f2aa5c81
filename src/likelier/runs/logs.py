"""Reads the logs of a run that may be damaged, edited or another program's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likelier.errors import DataError
from likelier.files import parse_line, read_lines
from likelier.files.json_text import truncate

FAULTS = (TypeError, KeyError, AttributeError, ValueError, IndexError, ArithmeticError, RecursionError)
"""What code raises that meets records of other shapes than it wrote."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `metrics.jsonl`, without an incomplete last one.

    DataError, naming the line: no JSON object, no `step`, or something that is no number.
    """
    path, lines = folder / "metrics.jsonl", []
    for number, text in read_lines(path, allow_partial_last_line=True):
        line = parse_line(path, number, text)
        if type(line.get("step")) is not int or line["step"] < 0:
            raise DataError(f"{path}:{number}: step is {truncate(repr(line.get('step')))}, not a whole number")
        for name, value in line.items():
            if value is not None and not isinstance(value, int | float):
                raise DataError(f"{path}:{number}: {name} is {truncate(repr(value))}, not a number")
        lines.append(line)
    return lines


@contextlib.contextmanager
def faults_as_data_errors(where: str) -> Iterator[None]:
    """Turn what code raises over records of other shapes than it wrote into a DataError that names their file."""
    try:
        yield
    except FAULTS as error:
        raise explain_fault(where, error) from error


def explain_fault(where: str | Path, error: Exception) -> DataError:
    """Return the error for a folder or file that holds what Likelier does not write."""
    reason = truncate(" ".join(f"{type(error).__name__}: {error}".split()), 120)
    return DataError(f"{where}: damaged, or of another program ({reason}); let its command write it anew")
