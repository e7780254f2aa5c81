"""OpenAI's preference fine-tuning: the input's messages, the preferred and the other output, each one assistant turn.

`parallel_tool_calls` is kept in the judgement's `extra`.
"""

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    assistant_turn,
    make_preference_entry,
    order_texts,
    read_answer,
    read_messages,
    record_ignored_fields,
    require,
    shorten,
    to_messages,
)
from likelier.records import JudgedComparison

OUTPUTS = ("preferred_output", "non_preferred_output")
PARALLEL = "parallel_tool_calls"


def read(record: Line, where: Place) -> Entry:
    """Read one record of preference fine-tuning."""
    given = require(record, "input", where)
    if not isinstance(given, dict):
        raise DataError(f"{where}: `input` must be an object with messages, got {shorten(given)}")
    prompt = read_messages(require(given, "messages", where), "input.messages", where)
    better, worse = (read_answer(read_messages(require(record, key, where), key, where), key, where) for key in OUTPUTS)
    extra = {PARALLEL: given[PARALLEL]} if PARALLEL in given else {}
    entry = make_preference_entry(prompt, better, worse, where, extra, given.get("tools"))
    return record_ignored_fields(
        entry,
        {f"input.{key}": value for key, value in given.items()} | record,
        frozenset(("input", "input.messages", "input.tools", f"input.{PARALLEL}", *OUTPUTS)),
    )


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as preferred and other output; a plain prompt is one user turn. None for a tie."""
    pair, messages = order_texts(judged), to_messages(judged.prompt.text)
    if pair is None or not messages:
        return None
    given: Line = {"messages": messages}
    given |= {key: judged.prompt.extra[key] for key in ("tools",) if judged.prompt.extra.get(key)}
    given |= {key: judged.judgement.extra[key] for key in (PARALLEL,) if key in judged.judgement.extra}
    return {"input": given} | {key: [assistant_turn(text)] for key, text in zip(OUTPUTS, pair, strict=True)}
