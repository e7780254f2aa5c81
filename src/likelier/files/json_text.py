"""Parser of untrusted JSON: limits on numbers, nesting and number of fields."""

import json
import math
from typing import Any

from likelier.errors import DataError

MAX_DEPTH = 100
"""Objects and lists in one another; deeper ones end in Python's limit on recursion wherever they are walked through."""
MAX_FIELDS = 1000
"""Fields of the object on one line, each of which may become a column of every other line."""
SURELY_FINITE_DIGITS = 300
"""A whole number of so many digits is below the largest float, 1.8e308."""


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON text.

    DataError, beginning with `where`: invalid JSON, NaN or Infinity, a number out of the range of floats, or nested too
    deep.
    """

    def refuse_constant(token: str) -> None:
        raise DataError(f"{where}: {token} is not JSON; write a number or null")

    def read_float(token: str) -> float:
        number = float(token)
        if math.isinf(number):
            raise DataError(
                f"{where}: the number {truncate(token)} is too large for a float; write a smaller one or null"
            )
        return number

    def read_int(token: str) -> int:
        if len(token) > SURELY_FINITE_DIGITS:
            read_float(token)
        return int(token)

    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_float=read_float, parse_int=read_int)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: broken JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise DataError(f"{where}: JSON nested too deep") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise DataError(f"{where}: JSON nested too deep, more than {MAX_DEPTH} lists and objects in one another")
    return value


def is_deeper(value: Any, limit: int) -> bool:
    """Return True if lists and objects are nested more than `limit` deep."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(limit):
        children = (child for nested in level for child in (nested.values() if isinstance(nested, dict) else nested))
        level = [child for child in children if isinstance(child, list | dict)]
        if not level:
            return False
    return True


def check_fields(record: dict[str, Any], where: str) -> None:
    """DataError: more than `MAX_FIELDS` fields."""
    if len(record) > MAX_FIELDS:
        raise DataError(f"{where}: {len(record):,} fields; a line may have {MAX_FIELDS:,}")


def list_fields(record: dict[str, Any], max_fields: int = 12) -> str:
    """List a record's field names for an error message, as many as fit; `nothing` if there are none."""
    names = [truncate(name) for name in sorted(record)]
    more = f" and {len(names) - max_fields} more" if len(names) > max_fields else ""
    return ", ".join(names[:max_fields]) + more or "nothing"


def truncate(text: str, length: int = 40) -> str:
    """Truncate a text to `length`, ending in three dots."""
    return text if len(text) <= length else text[: length - 3] + "..."
