"""TRL preference data: standard or conversational, prompt explicit or implicit, optional `margin` and `tools`.

Written with the prompt explicit. Other columns are passed over. An implicit prompt is what both texts begin with, up to
the last white space; of messages, the turns that both begin with (as in TRL's `extract_prompt`, but never cutting a
word in two).
"""

import math
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    messages_field,
    preference_entry,
    refuse_equal,
    required,
    shared_start,
    shown,
    text_field,
    winner_and_loser,
)
from likelier.records import JudgedComparison, Message


def read(record: Line, where: Place) -> Entry:
    """One record of TRL's preference format."""
    chosen, rejected = required(record, "chosen", where), required(record, "rejected", where)
    refuse_equal(chosen, rejected, where)
    extra = margin_of(record, where)
    tools = record.get("tools")
    if isinstance(chosen, str):
        prompt = text_field(record, "prompt", where) if "prompt" in record else None
        rejected = text_field(record, "rejected", where)
        if prompt is None:
            prompt, chosen, rejected = split_texts(chosen, rejected)
        return preference_entry(prompt, chosen, rejected, where, extra, tools)
    turns = messages_field(chosen, "chosen", where)
    others = messages_field(rejected, "rejected", where)
    if isinstance(record.get("prompt"), list):
        start = messages_field(record["prompt"], "prompt", where)
    else:  # a text beside conversations repeats their first turn
        start, turns, others = split_turns(turns, others)
    if not start:
        raise DataError(f"{where}: no `prompt`, and `chosen` and `rejected` do not begin with the same turn")
    answers = answer(turns, "chosen", where), answer(others, "rejected", where)
    return preference_entry(start, *answers, where, extra, tools)


def write(judged: JudgedComparison) -> Line | None:
    """A judgement as chosen and rejected; None for a tie."""
    pair = winner_and_loser(judged)
    if pair is None:
        return None
    prompt = judged.prompt.text
    chosen, rejected = pair if isinstance(prompt, str) else ([reply(pair[0])], [reply(pair[1])])
    kept = {key: judged.judgement.extra[key] for key in ("margin",) if key in judged.judgement.extra}
    kept |= {key: judged.prompt.extra[key] for key in ("tools",) if key in judged.prompt.extra}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | kept


def margin_of(record: Line, where: Place) -> Line:
    """The margin, if there is one. DataError: not a number."""
    margin = record.get("margin")
    if margin is None:
        return {}
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not math.isfinite(margin):
        raise DataError(f"{where}: `margin` must be a finite number, got {shown(margin)}")
    return {"margin": margin}


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """What both begin with, and what remains of each; the white space between goes with the remainders.

    >>> split_texts("The sky is blue.", "The sky is black.")
    ('The sky is', ' blue.', ' black.')
    """
    common = shared_start(chosen, rejected)
    cut = max((place for place, character in enumerate(common) if character.isspace()), default=0)
    return chosen[:cut], chosen[cut:], rejected[cut:]


def split_turns(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Common turns, then what only the chosen and only the rejected conversation have."""
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    return chosen[:common], chosen[common:], rejected[common:]


def answer(turns: list[Message], key: str, where: Place) -> str:
    """The text of a single assistant turn. DataError: something else."""
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        roles = ", ".join(turn["role"] for turn in turns) or "no turn"
        raise DataError(f"{where}: `{key}` must hold one assistant turn after the prompt, got {roles}")
    return turns[0]["content"]


def reply(text: str) -> Any:
    """A text as an assistant turn."""
    return {"role": "assistant", "content": text}
