"""TRL preference data: standard or conversational, prompt explicit or implicit, optional `margin` and `tools`.

Exports have explicit prompts. Other columns are ignored, and listed by the import. An implicit prompt is the common
prefix of both texts up to the last white space; of messages, the common turns (as in TRL's `extract_prompt`, but never
splitting a word).
"""

import math
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    assistant_turn,
    common_prefix,
    make_preference_entry,
    order_texts,
    read_answer,
    read_messages,
    read_text,
    record_ignored_fields,
    refuse_equal,
    require,
    shorten,
)
from likelier.records import JudgedComparison, Message

COLUMNS = frozenset(("prompt", "chosen", "rejected", "margin", "tools"))
QUESTION_COLUMNS = (
    *("question", "instruction", "instructions", "input", "query"),
    *("context", "history", "post", "messages"),
)
"""Where other formats keep the question, in any capitals: beside one of these two texts have no implicit prompt."""


def read(record: Line, where: Place) -> Entry:
    """Read one record of TRL's preference format."""
    return record_ignored_fields(read_preference(record, where), record, COLUMNS)


def read_preference(record: Line, where: Place) -> Entry:
    """Read the columns of TRL's preference format."""
    chosen, rejected = require(record, "chosen", where), require(record, "rejected", where)
    refuse_equal(chosen, rejected, where)
    extra = read_margin(record, where)
    tools = record.get("tools")
    if isinstance(chosen, str):
        prompt = read_text(record, "prompt", where) if "prompt" in record else None
        rejected = read_text(record, "rejected", where)
        if not prompt:
            refuse_question(record, where)
        if prompt is None:
            prompt, chosen, rejected = split_texts(chosen, rejected)
        return make_preference_entry(prompt, chosen, rejected, where, extra, tools)
    turns = read_messages(chosen, "chosen", where)
    others = read_messages(rejected, "rejected", where)
    if isinstance(record.get("prompt"), list):
        start = read_messages(record["prompt"], "prompt", where)
    else:  # a text beside conversations repeats their first turn
        start, turns, others = split_turns(turns, others)
        refuse_other_prompt(record.get("prompt"), start, where)
    if not start:
        raise DataError(f"{where}: no `prompt`, and `chosen` and `rejected` do not begin with the same turn")
    answers = read_answer(turns, "chosen", where), read_answer(others, "rejected", where)
    return make_preference_entry(start, *answers, where, extra, tools)


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as chosen and rejected; None for a tie."""
    pair = order_texts(judged)
    if pair is None:
        return None
    prompt = judged.prompt.text
    chosen, rejected = pair if isinstance(prompt, str) else ([assistant_turn(pair[0])], [assistant_turn(pair[1])])
    extra = {key: judged.judgement.extra[key] for key in ("margin",) if key in judged.judgement.extra}
    extra |= {key: judged.prompt.extra[key] for key in ("tools",) if key in judged.prompt.extra}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | extra


def refuse_question(record: Line, where: Place) -> None:
    """DataError: two texts without a prompt, and a question in a column that is not TRL's."""
    names = [name for name, value in record.items() if value and name.casefold() in QUESTION_COLUMNS]
    if names:
        names.sort(key=lambda name: QUESTION_COLUMNS.index(name.casefold()))
        columns = " and ".join(f"`{name}`" for name in names)
        raise DataError(f"{where}: no `prompt`, but {columns}; name the column that holds the question `prompt`")


def refuse_other_prompt(prompt: Any, turns: list[Message], where: Place) -> None:
    """DataError: a text beside conversations that none of their common turns repeats; it would be lost."""
    if turns and isinstance(prompt, str) and prompt.strip() not in ("", *(turn["content"].strip() for turn in turns)):
        raise DataError(f"{where}: `prompt` is a text that no turn repeats; make it a list of messages")


def read_margin(record: Line, where: Place) -> Line:
    """Return the margin, if there is one. DataError: not a number."""
    margin = record.get("margin")
    if margin is None:
        return {}
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not math.isfinite(margin):
        raise DataError(f"{where}: `margin` must be a finite number, got {shorten(margin)}")
    return {"margin": margin}


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return the common prefix and the two remainders, which keep the white space in between.

    >>> split_texts("The sky is blue.", "The sky is black.")
    ('The sky is', ' blue.', ' black.')
    """
    common = common_prefix(chosen, rejected)
    cut = max((position for position, character in enumerate(common) if character.isspace()), default=0)
    return chosen[:cut], chosen[cut:], rejected[cut:]


def split_turns(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the common turns, then the rest of the chosen and of the rejected conversation."""
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    return chosen[:common], chosen[common:], rejected[common:]
