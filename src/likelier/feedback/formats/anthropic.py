"""Anthropic hh-rlhf: two transcripts whose turns start with `Human:` and `Assistant:` after an empty line.

The response is what follows the last `Assistant:` within the transcripts' common prefix. In most pairs that is the last
turn; in the few whose transcripts differ earlier (about 10 of 5,000), the later turns belong to the response. A
response may be empty (an assistant that said nothing), and a turn may repeat the speaker.
"""

import re

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    common_prefix,
    make_preference_entry,
    order_texts,
    read_text,
    record_ignored_fields,
    to_messages,
)
from likelier.records import JudgedComparison, Message

COLUMNS = frozenset(("chosen", "rejected"))
ANSWER = "\n\nAssistant:"
TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
SPEAKERS = {role: speaker for speaker, role in ROLES.items()}


def read(record: Line, where: Place) -> Entry:
    """Read one record of hh-rlhf."""
    chosen, rejected = read_text(record, "chosen", where), read_text(record, "rejected", where)
    common = common_prefix(chosen, rejected)
    cut = common.rfind(ANSWER)
    if not common.startswith("\n\nHuman:") or cut < 0:
        raise DataError(
            f"{where}: `chosen` and `rejected` must share a transcript that begins with '\\n\\nHuman:' and "
            f"goes on to '\\n\\nAssistant:'; they share {common[:40]!r}"
        )
    start = cut + len(ANSWER)
    entry = make_preference_entry(
        parse_turns(chosen[:cut]), strip_space(chosen[start:]), strip_space(rejected[start:]), where, {}
    )
    return record_ignored_fields(entry, record, COLUMNS)


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as two transcripts.

    None for a tie, a system turn, or a text that contains a turn marker and would be read back as two turns.
    """
    pair, prompt = order_texts(judged), to_messages(judged.prompt.text)
    if pair is None or not prompt or any(turn["role"] not in SPEAKERS for turn in prompt):
        return None
    start = "".join(f"\n\n{SPEAKERS[turn['role']]}: {turn['content']}" for turn in prompt) + ANSWER
    record = {"chosen": f"{start} {pair[0]}", "rejected": f"{start} {pair[1]}"}
    return record if reads_back(record, prompt, pair) else None


def parse_turns(transcript: str) -> list[Message]:
    """Split a transcript into turns."""
    pieces = TURN.split(transcript)
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return [Message(role=ROLES[speaker], content=strip_space(text)) for speaker, text in pairs]


def strip_space(text: str) -> str:
    """Remove the space between a turn's marker and its text."""
    return text.removeprefix(" ")


def reads_back(record: Line, prompt: list[Message], pair: tuple[str, str]) -> bool:
    """True if writing the parsed record gives the same transcripts."""
    common = common_prefix(record["chosen"], record["rejected"])
    cut = common.rfind(ANSWER)
    start = cut + len(ANSWER)
    same_start = common.startswith("\n\nHuman:") and parse_turns(common[:cut]) == prompt
    return same_start and (strip_space(record["chosen"][start:]), strip_space(record["rejected"][start:])) == pair
