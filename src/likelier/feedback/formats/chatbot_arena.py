"""Chatbot Arena (FastChat, MT-bench): two conversations with the same questions, their models, the winner, the judge.

The left response is model A's. Where the conversations have several rounds they part at the first answer: what follows
belongs to the response, with the markers of hh-rlhf between its turns. Other fields (language, `tstamp`, question) are
kept as the judgement's `extra` and exported again. The tables of the Kaggle contests on its battles are read too:
`prompt`, `response_a`, `response_b` (texts, or JSON lists of one for each round), with `winner`, or `winner_model_a`,
`winner_model_b` and `winner_tie`.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from likelier.errors import DataError
from likelier.feedback.formats.anthropic import ROLES, SPEAKERS, TURN, strip_space
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    assistant_turn,
    make_judgement_entry,
    make_response,
    read_messages,
    read_text,
    record_ignored_fields,
    refuse_equal,
    require,
    to_messages,
    user_turn,
)
from likelier.feedback.formats.fields import read_time
from likelier.feedback.formats.winners import read_winner
from likelier.records import JudgedComparison, Message, Prompt, Response, read_name

EXTRA_KEY = "chatbot-arena"
CONVERSATIONS = ("conversation_a", "conversation_b")
MODELS = ("model_a", "model_b")
TEXTS = ("prompt", "response_a", "response_b")
ONE_OF = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}
MAPPED = frozenset((*CONVERSATIONS, *MODELS, "winner", "judge"))
BOTH_BAD = "tie (bothbad)"
CHOICES = {"model_a": "left", "model_b": "right", "tie": "tie", BOTH_BAD: "tie", "both_bad": "tie"}
WINNERS = {"left": "model_a", "right": "model_b", "tie": "tie"}


def read(record: Line, where: Place) -> Entry:
    """Read one battle."""
    record = complete(record, where)
    label = require(record, "winner", where)
    named = read_winner(label, MODELS)
    if named is None and label not in CHOICES:
        raise DataError(f"{where}: `winner` must be one of {', '.join(WINNERS.values())}, {BOTH_BAD}, got {label!r}")
    winner = (BOTH_BAD if named.both_bad else WINNERS[named.choice]) if named else label
    sides = [read_side(record, key, where) for key in CONVERSATIONS]
    common = count_common(*sides)
    if not common:
        raise DataError(f"{where}: the two conversations do not begin with the same question")
    prompt = Prompt(sides[0][:common])
    left, right = (
        make_response(prompt.id, join_turns(turns[common:]), read_text(record, model, where))
        for turns, model in zip(sides, MODELS, strict=True)
    )
    refuse_equal(left.id, right.id, where, "the two answers and their models")
    unmapped = {key: value for key, value in record.items() if key not in MAPPED}
    entry = make_judgement_entry(
        prompt,
        left,
        right,
        choice=CHOICES[winner],
        both_bad=winner not in WINNERS.values(),
        annotator=read_name(record, "judge") or read_name(record, "annotator"),
        created_at=read_time(record.get("tstamp")),
        extra={EXTRA_KEY: unmapped} if unmapped else {},
    )
    return record_ignored_fields(entry, {key: record[key] for key in CONVERSATIONS}, frozenset(CONVERSATIONS))


def complete(record: Line, where: Place) -> Line:
    """Return a record with its conversations and its winner, made of the columns of Kaggle's tables where they lack."""
    if "winner" not in record and ONE_OF.keys() & record.keys():
        won = [winner for column, winner in ONE_OF.items() if str(record.get(column)) in ("1", "1.0", "True")]
        if len(won) != 1:
            raise DataError(f"{where}: one of {', '.join(ONE_OF)} must be 1, the others 0")
        record = {name: value for name, value in record.items() if name not in ONE_OF} | {"winner": won[0]}
    if CONVERSATIONS[0] in record or not all(isinstance(record.get(name), str) for name in TEXTS):
        return record
    questions, *answers = (parse_rounds(record[name]) for name in TEXTS)
    rest = {name: value for name, value in record.items() if name not in TEXTS}
    for key, name, given in zip(CONVERSATIONS, TEXTS[1:], answers, strict=True):
        if len(given) != len(questions) or not all(given):
            raise DataError(f"{where}: `{name}` must have an answer in each of the {len(questions)} rounds of `prompt`")
        turns = zip(questions, given, strict=True)
        rest[key] = [turn for asked, said in turns for turn in (user_turn(asked), assistant_turn(said))]
    return rest


def parse_rounds(text: str) -> list[str]:
    """Return the texts of all rounds that a cell holds as a JSON list; any other text is the only one."""
    if not text.startswith('["') and not text.startswith("[null"):
        return [text]
    try:
        rounds = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return ["" if each is None else str(each) for each in rounds]


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as a battle; a plain prompt is one user turn. None without a question."""
    judgement, messages = judged.judgement, to_messages(judged.prompt.text)
    if not messages or messages[-1]["role"] != "user":
        return None
    unmapped = dict(judgement.extra.get(EXTRA_KEY, {}))
    time = {} if EXTRA_KEY in judgement.extra else write_time(judgement.created_at)
    record = {"winner": BOTH_BAD if judgement.both_bad else WINNERS[judgement.choice]} | unmapped | time
    for key, model, side in zip(CONVERSATIONS, MODELS, (judged.left, judged.right), strict=True):
        record |= {key: messages + split_turns(side), model: side.model}
    return record | ({"judge": judgement.annotator} if judgement.annotator else {})


def read_side(record: Line, key: str, where: Place) -> list[Message]:
    """Return a conversation, up to the round that was judged (`turn` of MT-bench)."""
    if record.get(key) is None:
        raise DataError(f"{where}: no `{key}`: without the conversations there is nothing to learn from")
    turns = read_messages(record[key], key, where)
    rounds = record.get("turn")
    if isinstance(rounds, int) and not isinstance(rounds, bool) and rounds > 0:
        turns = turns[: 2 * rounds]
    if turns[-1]["role"] != "assistant":
        raise DataError(f"{where}: `{key}` must end with the assistant's turn, got {turns[-1]['role']}")
    return turns


def count_common(first: Sequence[Message], second: Sequence[Message]) -> int:
    """Return the length of the common beginning that ends with a user's turn and leaves each side an answer."""
    common = 0
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        common += 1
    while common and first[common - 1]["role"] != "user":
        common -= 1
    return common


def join_turns(turns: list[Message]) -> str:
    """Return an answer and what follows it as one text."""
    rest = (f"\n\n{SPEAKERS.get(turn['role'], 'System')}: {turn['content']}" for turn in turns[1:])
    return turns[0]["content"] + "".join(rest)


def split_turns(response: Response) -> list[Message]:
    """Return the turns that `join_turns` joins, or the one answer that the text is."""
    first, *pieces = TURN.split(response.text)
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    rest = [Message(role=ROLES[speaker], content=strip_space(text)) for speaker, text in pairs]
    turns = [assistant_turn(first), *rest]
    return (
        turns
        if turns[-1]["role"] == "assistant" and join_turns(turns) == response.text
        else [assistant_turn(response.text)]
    )


def write_time(created_at: str | None) -> Line:
    """Return `tstamp` in seconds since 1970; nothing if the date is unknown or no date."""
    try:
        return {"tstamp": datetime.fromisoformat(created_at).timestamp()} if created_at else {}
    except ValueError:
        return {}
