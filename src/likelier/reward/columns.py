"""Columns that the reward functions of Likelier read: references and labels, checked before training begins."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from likelier.errors import DataError
from likelier.records import Prompt

Parse = Callable[..., Any]
"""Turns a value of a column into what a function reads; may take some of the function's arguments by name. ValueError:
it cannot, and says what it needs."""
Function = TypeVar("Function", bound=Callable[..., Any])


def reads(**columns: Parse) -> Callable[[Function], Function]:
    """Mark a reward function with the parameters that are columns of the prompts, and how their values are parsed.

    Its other parameters are never columns; the config gives them as `arguments`.
    """

    def mark(function: Function) -> Function:
        function.columns = columns  # type: ignore[attr-defined]  # functions take attributes
        return function

    return mark


def get_columns(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Parse] | None:
    """The columns of a function marked by `reads`, with parsers that know the arguments; None for other functions."""
    columns: Mapping[str, Parse] | None = getattr(function, "columns", None)
    if columns is None:
        return None
    return {name: partial(parse, **select(arguments, parse)) for name, parse in columns.items()}


def select(arguments: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Those of the arguments that a function has parameters for."""
    return {name: arguments[name] for name in inspect.signature(function).parameters if name in arguments}


def parse_references(value: Any) -> list[str]:
    """A text, or a list of texts of which the best counts. ValueError: something else, or an empty list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a text or a list of texts")
    return texts


def check_values(prompts: Sequence[Prompt], columns: Mapping[str, Parse], label: str) -> list[int]:
    """Check the values of each column; return the rows of prompts that lack one.

    DataError, naming file and line of the first prompt with another value.
    """
    lacking = []
    for row, prompt in enumerate(prompts):
        values = {name: prompt.extra.get(name) for name in columns}
        for name, value in values.items():
            if value is None:
                continue
            try:
                columns[name](value)
            except ValueError as error:
                place = f"{prompt.source}: " if prompt.source else ""
                raise DataError(f"{place}`{name}` {error}, got {shorten(value)}; {label} reads it") from error
        if None in values.values():
            lacking.append(row)
    return lacking


def shorten(value: Any) -> str:
    """Represent a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
