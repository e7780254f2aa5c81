"""Fields with the names that labelling tools leave to their users: which holds the prompt, which the two answers."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import Line, Place, read_messages, shorten
from likelier.files.json_text import list_fields
from likelier.records import JudgedComparison, Text

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "text", "context")
SIDE_NAMES = (("left", "right"), ("chosen", "rejected"), ("a", "b"), ("first", "second"))
ANSWER_STEMS = ("response", "answer", "completion", "generation", "output", "summary", "text", "option", "model")
ANSWER_NAME = re.compile(rf"({'|'.join(ANSWER_STEMS)})s?[\W_]*(left|right|[a-h]|\d+)")
ANSWER_FIELDS = ("response1", "response2")
"""Names of the two answers in an export."""


def find_prompt(fields: Line, taken: Iterable[str], where: Place) -> str:
    """Return the name of the field that holds the prompt. DataError: none does by its name."""
    taken = set(taken)
    if name := next((name for name in PROMPT_NAMES if name in fields and name not in taken), None):
        return name
    raise DataError(f"{where}: no field `prompt` (found {list_fields(fields)}); --columns prompt=NAME names it")


def find_answers(fields: Line) -> list[str]:
    """Return the names of the fields that hold answers, by what they are called; fewer than two where none do.

    >>> find_answers({"prompt": "", "answer_b": "", "answer_a": ""})
    ['answer_a', 'answer_b']
    """
    lower = {name.lower(): name for name in fields}
    for pair in SIDE_NAMES:
        if all(name in lower for name in pair):
            return [lower[name] for name in pair]
    for stem in ANSWER_STEMS:
        matches = ((ANSWER_NAME.fullmatch(name), name) for name in lower)
        if (
            len(numbered := sorted((match[2], lower[name]) for match, name in matches if match and match[1] == stem))
            > 1
        ):
            return [name for _, name in numbered]
    return []


def read_field(fields: Line, name: str, where: Place) -> Text:
    """Return a text, or the messages that a chat field holds."""
    value = fields[name]
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return read_messages(value, name, where)
    raise DataError(f"{where}: `{name}` must be a text or a list of messages, got {shorten(value)}")


def read_time(moment: Any) -> str | None:
    """Return a number of seconds since 1970 (or of milli-, micro- or nanoseconds) as a date; None if it is none.

    >>> read_time(1682351591132)
    '2023-04-24T15:53:11+00:00'
    """
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < 1e20:
        return None
    while moment >= 1e11:
        moment /= 1000
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def group_judgements(judged: Iterable[JudgedComparison]) -> Iterator[list[JudgedComparison]]:
    """Yield the judgements of one comparison with the same sides together, from judgements sorted by comparison."""
    for _, same_pair in groupby(judged, key=lambda entry: entry.judgement.comparison_id):
        ordered = sorted(same_pair, key=attrgetter("judgement.left"))
        for _, same_sides in groupby(ordered, key=attrgetter("judgement.left")):
            yield list(same_sides)
