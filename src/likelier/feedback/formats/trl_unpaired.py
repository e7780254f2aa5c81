"""TRL's unpaired preferences (KTO, BCO): a prompt, a completion, and whether it is good: a thumb up or down.

Judgements are exported as two lines each, the better response true and the other false, as TRL's own conversion does;
ratings on a scale cannot be held.
"""

from collections.abc import Iterator
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    assistant_turn,
    make_rating_entry,
    make_response,
    order_texts,
    read_answer,
    read_messages,
    read_text,
    record_ignored_fields,
    require,
    shorten,
)
from likelier.feedback.formats.trl_prompts import read_prompt
from likelier.feedback.store import Store
from likelier.records import Prompt

COLUMNS = frozenset(("prompt", "completion", "label", "tools"))


def read(record: Line, where: Place) -> Entry:
    """Read one completion with its label."""
    tools = record.get("tools")
    text = read_prompt(require(record, "prompt", where), where)
    prompt = Prompt(text, extra={"tools": tools} if tools else {})
    response = make_response(prompt.id, read_completion(record, where))
    entry = make_rating_entry(prompt, response, read_label(require(record, "label", where), where), "thumbs")
    return record_ignored_fields(entry, record, COLUMNS)


def read_completion(record: Line, where: Place) -> str:
    """Return the completion, a text or one assistant turn."""
    if isinstance(record.get("completion"), list):
        return read_answer(read_messages(record["completion"], "completion", where), "completion", where)
    return read_text(record, "completion", where)


def read_label(value: Any, where: Place, key: str = "label") -> float:
    """Return 1 for true and 0 for false. DataError: neither."""
    if not isinstance(value, int) or value not in (0, 1):
        raise DataError(f"{where}: `{key}` must be true or false, got {shorten(value)}")
    return float(value)


def lines(store: Store) -> Iterator[Line | None]:
    """Return a line for each thumb, and two for each judgement; None for what cannot be held."""
    for rated in store.rated_by_content():
        held = rated.rating.kind == "thumbs" and rated.is_text
        yield write(rated.prompt, rated.response.text, rated.rating.value == 1) if held else None
    for judged in store.judged_by_content():
        pair = order_texts(judged) if judged.is_text else None
        if pair is None:
            yield None
        else:
            yield from (write(judged.prompt, text, label) for text, label in zip(pair, (True, False), strict=True))


def write(prompt: Prompt, text: str, label: bool) -> Line:
    """Format one response with its label."""
    completion = text if isinstance(prompt.text, str) else [assistant_turn(text)]
    tools = {"tools": prompt.extra["tools"]} if prompt.extra.get("tools") else {}
    return {"prompt": prompt.text, "completion": completion, "label": label} | tools
