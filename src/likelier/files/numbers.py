"""Checks of the numbers in a line of a preference file."""

import math
from pathlib import Path
from typing import Any

from likelier.errors import DataError

UPPER_BOUNDS = {"weight": math.inf, "asked_weight": math.inf, "flip": 1.0, "target": 1.0, "guess": 1.0, "chance": 1.0}


def check_numbers(path: Path, number: int, record: dict[str, Any]) -> None:
    """DataError: a number of a preference is none, or out of its bounds."""
    for key in (*UPPER_BOUNDS, "margin", "lower", "upper"):
        value = record.get(key, 0.0)
        if key == "upper" and value is None:  # infinity
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{path}:{number}: `{key}` must be a number, got {value!r}")
        if key in UPPER_BOUNDS and not 0 <= value <= UPPER_BOUNDS[key]:
            limit = "between 0 and 1" if UPPER_BOUNDS[key] == 1 else "0 or more"
            raise DataError(f"{path}:{number}: `{key}` must be {limit}, got {value!r}")
    lower, upper = record.get("lower", 0.0), record.get("upper")
    if upper is not None and upper <= lower:
        raise DataError(f"{path}:{number}: `upper` must be above `lower` ({lower!r}), or null; got {upper!r}")
