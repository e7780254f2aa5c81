"""Anthropic hh-rlhf: two transcripts, turns opened by `Human:` and `Assistant:` after an empty line.

The response is what follows the last `Assistant:` that lies within the part that both transcripts share. In most pairs
that is the last turn; in the few whose transcripts part earlier (about 10 of 5,000), the later turns belong to the
response. A response may be empty (an assistant that said nothing), and a turn may repeat the speaker.
"""

import re

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    preference_entry,
    shared_start,
    text_field,
    winner_and_loser,
)
from likelier.records import JudgedComparison, Message, Text

ANSWER = "\n\nAssistant:"
TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
SPEAKERS = {role: speaker for speaker, role in ROLES.items()}


def read(record: Line, where: Place) -> Entry:
    """One record of hh-rlhf."""
    chosen, rejected = text_field(record, "chosen", where), text_field(record, "rejected", where)
    common = shared_start(chosen, rejected)
    cut = common.rfind(ANSWER)
    if not common.startswith("\n\nHuman:") or cut < 0:
        raise DataError(
            f"{where}: `chosen` and `rejected` must share a transcript that begins with '\\n\\nHuman:' and "
            f"goes on to '\\n\\nAssistant:'; they share {common[:40]!r}"
        )
    start = cut + len(ANSWER)
    return preference_entry(turns(chosen[:cut]), said(chosen[start:]), said(rejected[start:]), where, {})


def write(judged: JudgedComparison) -> Line | None:
    """None: a tie, a system turn, or a text that holds the marks of a turn and would be read back as another one."""
    pair, prompt = winner_and_loser(judged), messages(judged.prompt.text)
    if pair is None or not prompt or any(turn["role"] not in SPEAKERS for turn in prompt):
        return None
    start = "".join(f"\n\n{SPEAKERS[turn['role']]}: {turn['content']}" for turn in prompt) + ANSWER
    record = {"chosen": f"{start} {pair[0]}", "rejected": f"{start} {pair[1]}"}
    return record if reads_back(record, prompt, pair) else None


def turns(transcript: str) -> list[Message]:
    """The turns of a transcript."""
    pieces = TURN.split(transcript)
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return [Message(role=ROLES[speaker], content=said(text)) for speaker, text in pairs]


def said(text: str) -> str:
    """The text of a turn without the one space that parts it from its mark."""
    return text.removeprefix(" ")


def messages(prompt: Text) -> list[Message]:
    """A plain prompt is one human turn."""
    return ([Message(role="user", content=prompt)] if prompt else []) if isinstance(prompt, str) else prompt


def reads_back(record: Line, prompt: list[Message], pair: tuple[str, str]) -> bool:
    """True if writing the record again gives the same transcripts."""
    common = shared_start(record["chosen"], record["rejected"])
    cut = common.rfind(ANSWER)
    start = cut + len(ANSWER)
    same_start = common.startswith("\n\nHuman:") and turns(common[:cut]) == prompt
    return same_start and (said(record["chosen"][start:]), said(record["rejected"][start:])) == pair
