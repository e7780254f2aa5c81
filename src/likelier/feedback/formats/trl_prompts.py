"""TRL's prompt-only data: prompts to be answered, with whatever other columns the file has (a reference answer, tools).

An export holds all prompts of the database, and no judgement.
"""

from collections.abc import Iterator
from typing import Any

from likelier.feedback.formats.entry import Entry, Line, Place, read_messages, require
from likelier.feedback.store import Store
from likelier.records import PROMPT_FIELDS, Prompt, Text, list_pictures, read_name


def read(record: Line, where: Place) -> Entry:
    """Read one prompt; its other columns travel with it."""
    text = read_prompt(require(record, "prompt", where), where)
    columns = {name: value for name, value in record.items() if name not in PROMPT_FIELDS and value is not None}
    return Entry(Prompt(text, read_name(record, "conversation"), columns))


def read_prompt(value: Any, where: Place) -> Text:
    """Return a text or messages."""
    return value if isinstance(value, str) else read_messages(value, "prompt", where)


def lines(store: Store) -> Iterator[Line | None]:
    """Return all prompts; None for those with pictures, and for each judgement."""
    for prompt in store.prompts():
        if list_pictures(prompt.text):
            yield None
            continue
        yield (
            prompt.extra
            | ({"conversation": prompt.conversation} if prompt.conversation else {})
            | {"prompt": prompt.text}
        )
    yield from [None] * store.counts()["judgements"]
