"""LLaMA-Factory's preference data sets: `alpaca` (instruction, input, chosen, rejected) and `sharegpt` (conversations).

Its newer style, two whole conversations in `chosen_messages` and `rejected_messages`, is read too, and its KTO data,
one conversation with a thumb (`label`, `kto_tag` or `tag`).
An instruction is a user's turn, with `input` in the next line, after the turns of `system` and `history`, as
LLaMA-Factory's own converters make it. Exports are all `sharegpt`, since one entry of `dataset_info.json` describes the
whole file; turns of tools cannot be read.
"""

from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    assistant_turn,
    make_preference_entry,
    make_rating_entry,
    make_response,
    order_texts,
    read_answer,
    read_messages,
    read_text,
    record_ignored_fields,
    require,
    shorten,
    to_messages,
    user_turn,
)
from likelier.feedback.formats.trl import split_turns
from likelier.feedback.formats.trl_unpaired import read_label
from likelier.records import JudgedComparison, Message, Prompt

ALPACA = frozenset(("instruction", "input", "system", "history", "chosen", "rejected"))
SHAREGPT = frozenset(("conversations", "messages", "system", "tools", "chosen", "rejected"))
WHOLE = ("chosen_messages", "rejected_messages")
TAGS = ("kto_tag", "label", "tag")
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
SPEAKERS = {role: speaker for speaker, role in ROLES.items()}


def read(record: Line, where: Place) -> Entry:
    """Read one record of a preference data set."""
    if WHOLE[0] in record:
        return read_whole(record, where)
    conversational = "conversations" in record or "messages" in record
    if tag := next((name for name in TAGS if name in record and "chosen" not in record), None):
        return read_thumb(record, tag, conversational, where)
    prompt = read_conversation(record, where) if conversational else read_instruction(record, where)
    chosen, rejected = (read_side(require(record, key, where), key, where) for key in ("chosen", "rejected"))
    tools = record.get("tools") if conversational else None
    entry = make_preference_entry(prompt, chosen, rejected, where, {}, tools)
    return record_ignored_fields(entry, record, SHAREGPT if conversational else ALPACA)


def read_whole(record: Line, where: Place) -> Entry:
    """Read two whole conversations that begin alike."""
    prompt, chosen, rejected = split_turns(*(read_messages(require(record, key, where), key, where) for key in WHOLE))
    if not prompt:
        raise DataError(f"{where}: `{WHOLE[0]}` and `{WHOLE[1]}` do not begin with the same turn")
    better, worse = read_answer(chosen, WHOLE[0], where), read_answer(rejected, WHOLE[1], where)
    return record_ignored_fields(make_preference_entry(prompt, better, worse, where, {}), record, frozenset(WHOLE))


def read_thumb(record: Line, tag: str, conversational: bool, where: Place) -> Entry:
    """Read one record of KTO data, whose last turn was rated."""
    if conversational:
        *turns, last = read_conversation(record, where)
        answer = read_answer([last], "messages", where)
    else:
        turns, answer = read_instruction(record, where), read_text(record, "output", where)
    prompt = Prompt(turns)
    entry = make_rating_entry(prompt, make_response(prompt.id, answer), read_label(record[tag], where, tag), "thumbs")
    return record_ignored_fields(entry, record, (SHAREGPT if conversational else ALPACA) | {tag, "output"})


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as a conversation with two ends; a plain prompt is one human turn.

    None for a tie, or for turns that do not alternate, which LLaMA-Factory drops.
    """
    pair, messages = order_texts(judged), to_messages(judged.prompt.text)
    if pair is None or not alternates(messages):
        return None
    better, worse = (write_turn(assistant_turn(text)) for text in pair)
    record = {"conversations": [write_turn(turn) for turn in messages], "chosen": better, "rejected": worse}
    return record | {key: judged.prompt.extra[key] for key in ("tools",) if judged.prompt.extra.get(key)}


def read_conversation(record: Line, where: Place) -> list[Message]:
    """Return the turns before the two answers."""
    key = "conversations" if "conversations" in record else "messages"
    turns = record[key]
    if not isinstance(turns, list):
        raise DataError(f"{where}: `{key}` must be a list of turns, got {shorten(turns)}")
    return read_system(record, where) + read_messages([to_message(turn, where) for turn in turns], key, where)


def read_instruction(record: Line, where: Place) -> list[Message]:
    """Return the turns of `system`, `history` and the instruction."""
    instruction = read_text(record, "instruction", where)
    question = "\n".join(text for text in (instruction, read_optional(record, "input", where)) if text)
    history = record.get("history") or []
    if not isinstance(history, list) or not all(is_exchange(pair) for pair in history):
        raise DataError(f"{where}: `history` must be a list of [question, answer], got {shorten(history)}")
    past = [turn for asked, answered in history for turn in (user_turn(asked), assistant_turn(answered))]
    return [*read_system(record, where), *past, user_turn(question)]


def read_system(record: Line, where: Place) -> list[Message]:
    """Return the system's turn, if there is one."""
    text = read_optional(record, "system", where)
    return [Message(role="system", content=text)] if text else []


def read_optional(record: Line, key: str, where: Place) -> str:
    """Return a text that may be absent or null."""
    return "" if record.get(key) is None else read_text(record, key, where)


def is_exchange(pair: Any) -> bool:
    """True for a list of two texts."""
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def read_side(value: Any, key: str, where: Place) -> str:
    """Return an answer's text, which alpaca writes plain and sharegpt as a turn."""
    if isinstance(value, str):
        return value
    return read_answer(read_messages([to_message(value, where)], key, where), key, where)


def to_message(turn: Any, where: Place) -> Any:
    """Convert `from` and `value` to role and content; turns that have these already are left as they are."""
    if not isinstance(turn, dict) or "from" not in turn:
        return turn
    speaker = turn["from"]
    if not isinstance(speaker, str) or speaker not in ROLES:
        raise DataError(f"{where}: a turn from {shorten(speaker)}; turns of {', '.join(ROLES)} can be read")
    return {"role": ROLES[speaker], "content": turn.get("value")}


def write_turn(turn: Message) -> Line:
    """Convert role and content to `from` and `value`."""
    return {"from": SPEAKERS[turn["role"]], "value": turn["content"]}


def alternates(messages: list[Message]) -> bool:
    """True if user and assistant take turns after at most one system turn, the user first and last."""
    roles = [turn["role"] for turn in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    return len(turns) % 2 == 1 and turns == [("user", "assistant")[number % 2] for number in range(len(turns))]
