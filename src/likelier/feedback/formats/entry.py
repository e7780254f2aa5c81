"""The `Entry` of one line of a data file, and checks shared by all formats."""

import difflib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from likelier.errors import DataError
from likelier.feedback.projects import Gold, Guideline, ProjectSettings
from likelier.files import stable_id
from likelier.files.json_text import list_fields
from likelier.records import (
    Answer,
    Comparison,
    JudgedComparison,
    Judgement,
    Media,
    Message,
    Prompt,
    Ranking,
    Rating,
    RatingKind,
    Response,
    Text,
    order_by_rank,
    refuse_calls,
)
from likelier.records.messages import read_message

Line = dict[str, Any]
ROLES = ("system", "user", "assistant")
TURN_FIELDS = ("role", "content")
EMPTY: tuple[Any, ...] = (None, "", [], {})
UNKNOWN_SIDES = {"sides": "unknown"}
"""In `Judgement.extra`: the format does not say which response was shown on which side."""


class Place(NamedTuple):
    """File and line number, for error messages; `unit` names what is counted where it is not lines."""

    path: Path
    number: int
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.unit} {self.number}" if self.unit else f"{self.path}:{self.number}"


make_prompt = lru_cache(maxsize=1024)(Prompt)
make_response = lru_cache(maxsize=4096)(Response)
make_comparison = lru_cache(maxsize=4096)(Comparison)
"""Cached, so that the id of a record is computed once: most files repeat their texts from line to line."""


@dataclass(frozen=True)
class Entry:
    """The records in one line: a prompt, and what else the line has."""

    prompt: Prompt
    responses: tuple[Response, ...] = ()
    comparison: Comparison | None = None
    judgement: Judgement | None = None
    rating: Rating | None = None
    """Of the one response of the entry."""
    ranking: Ranking | None = None
    """Of all responses of the entry."""
    gold: Gold | None = None
    """What the owner knows of the comparison."""
    offered: tuple[Comparison, ...] = ()
    """Pairs of `responses` that people may be asked about."""
    media_files: Mapping[Media, Path] = field(default_factory=dict)
    """Where the files of media responses are."""
    passed_over: tuple[str, ...] = ()
    """Fields of the line that the format does not read."""

    @property
    def answer(self) -> Answer | None:
        """The judgement, rating or ranking of the line; None if it has none."""
        return self.judgement or self.rating or self.ranking


@dataclass(frozen=True)
class SetUp:
    """A line about a project itself: its settings, or one version of its guidelines."""

    settings: ProjectSettings | None = None
    guideline: Guideline | None = None


def make_preference_entry(
    text: Text, chosen: str, rejected: str, where: Place, extra: Line, tools: Any = None, **answer: Any
) -> Entry:
    """Make a judgement of which only the winner is known. DataError: both texts are equal.

    A hash of the content puts the winner left or right, so that unknown sides do not look like a side bias. `answer`
    holds other fields of `Judgement`.
    """
    refuse_equal(chosen, rejected, where)
    prompt = Prompt(text, extra={"tools": tools} if tools else {})
    winner, loser = make_response(prompt.id, chosen), make_response(prompt.id, rejected)
    winner_left = int(stable_id("side", winner.id, loser.id), 16) % 2 == 0
    left, right = (winner, loser) if winner_left else (loser, winner)
    choice = "left" if winner_left else "right"
    return make_judgement_entry(prompt, left, right, choice=choice, extra=extra | UNKNOWN_SIDES, **answer)


def make_judgement_entry(
    prompt: Prompt, left: Response, right: Response, swapped: bool = False, **answer: Any
) -> Entry:
    """Make a judgement of two responses as they were shown; `answer` holds the other fields of `Judgement`.

    One name in two Unicode forms is one annotator; capitals may tell ids apart.
    """
    sides = (right.id, left.id) if swapped else (left.id, right.id)
    compared = make_comparison(left.prompt_id, *sides)
    answer["annotator"] = unicodedata.normalize("NFC", answer.get("annotator", ""))
    judgement = Judgement(**answer, comparison_id=compared.id, left=left.id, right=right.id)
    return Entry(prompt, (left, right), compared, judgement)


def make_rating_entry(prompt: Prompt, response: Response, value: float, kind: RatingKind, **more: Any) -> Entry:
    """Make a rating of one response; `more` holds the other fields of `Rating`."""
    more["annotator"] = unicodedata.normalize("NFC", more.get("annotator", ""))
    rating = Rating(response.id, **more, value=value, kind=kind)
    return Entry(prompt, (response,), rating=rating)


def make_ranking_entry(prompt: Prompt, responses: Sequence[Response], ranks: Sequence[float], **more: Any) -> Entry:
    """Make a ranking of responses in the order shown; `more` holds the other fields of `Ranking`."""
    more["annotator"] = unicodedata.normalize("NFC", more.get("annotator", ""))
    shown = tuple(response.id for response in responses)
    return Entry(
        prompt, tuple(responses), ranking=Ranking(prompt.id, **more, order=order_by_rank(shown, ranks), shown=shown)
    )


def order_texts(judged: JudgedComparison) -> tuple[str, str] | None:
    """Return the two texts, better one first; None for a tie."""
    texts = judged.left.text, judged.right.text
    return {"left": texts, "right": texts[::-1], "tie": None}[judged.judgement.choice]


def refuse_equal(first: Any, second: Any, where: Place, names: str = "`chosen` and `rejected`") -> None:
    """DataError: two values that must differ are equal."""
    if first == second:
        raise DataError(f"{where}: {names} are the same; there is nothing to prefer")


def common_prefix(first: str, second: str) -> str:
    """Return the longest common prefix of two texts."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return first[:low]


def read_text(record: Line, key: str, where: Place) -> str:
    """`record[key]`, a text; it may be empty, since a model may return nothing."""
    value = require(record, key, where)
    if not isinstance(value, str):
        raise DataError(f"{where}: `{key}` must be a text, got {shorten(value)}")
    return value


def require(record: Line, key: str, where: Place) -> Any:
    """Return a required field. DataError: it is missing."""
    if key not in record:
        raise DataError(f"{where}: no field `{key}` (found {list_fields(record)})")
    return record[key]


def read_messages(value: Any, key: str, where: Place, pictures: bool = False) -> list[Message]:
    """Return a non-empty list of turns, each with a known role and a text, or with `pictures` parts of both kinds."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: `{key}` must be a text or a list of messages, got {shorten(value)}")
    messages = []
    for turn in value:
        if isinstance(turn, dict) and has_picture(turn.get("content")):
            if not pictures:
                raise DataError(f"{where}: `{key}` has a picture, which only format likelier reads; leave it out")
            turn = turn | {"role": check_role(turn, key, where)}
            messages.append(read_message(turn, key, str(where), where.path.parent))
            continue
        content = join_parts(turn.get("content")) if isinstance(turn, dict) else None
        if content is None:
            raise DataError(f"{where}: `{key}` must hold messages with role and content, got {shorten(turn)}")
        messages.append(Message(role=check_role(turn, key, where), content=content))
    refuse_calls(value, key, str(where))
    return messages


def check_role(turn: Line, key: str, where: Place) -> str:
    """Return the role of a turn. DataError: an unknown one."""
    if turn.get("role") not in ROLES:
        raise DataError(f"{where}: `{key}` has a turn of role {shorten(turn.get('role'))}; use {', '.join(ROLES)}")
    return str(turn["role"])


def has_picture(content: Any) -> bool:
    """True for a list of parts with one of type `image`."""
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("type") == "image" for part in content)


def join_parts(content: Any) -> str | None:
    """Return a turn's text, which may be a list of parts of type `text`; None for anything else."""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        texts = [part.get("text", part.get("value")) for part in content]
        return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else None
    return content if isinstance(content, str) else None


def read_answer(turns: list[Message], key: str, where: Place) -> str:
    """Return the text of a single assistant turn. DataError: anything else."""
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        roles = ", ".join(turn["role"] for turn in turns) or "no turn"
        raise DataError(f"{where}: `{key}` must hold one assistant turn after the prompt, got {roles}")
    return turns[0]["content"]


def to_messages(prompt: Text) -> list[Message]:
    """Convert a prompt to messages; a plain text is one user turn."""
    return ([Message(role="user", content=prompt)] if prompt else []) if isinstance(prompt, str) else prompt


def user_turn(text: str) -> Message:
    """Make a user turn of a text."""
    return Message(role="user", content=text)


def assistant_turn(text: str) -> Message:
    """Make an assistant turn of a text."""
    return Message(role="assistant", content=text)


def record_ignored_fields(entry: Entry, record: Line, read: frozenset[str]) -> Entry:
    """Return the entry with the names of non-empty fields of its line, and of its turns, that were not read."""
    others = [name for name, value in record.items() if name not in read and value not in EMPTY]
    turns = [(key, turn) for key in sorted(read) for turn in as_turns(record.get(key))]
    others += [f"{key}[].{name}" for key, turn in turns for name in turn if name not in TURN_FIELDS and turn[name]]
    return replace(entry, passed_over=tuple(dict.fromkeys(others))) if others else entry


def as_turns(value: Any) -> list[Line]:
    """Return the turns of a conversation; none of any other value."""
    return [turn for turn in value if isinstance(turn, dict) and "content" in turn] if isinstance(value, list) else []


def refuse_unstorable(record: Line, where: Place) -> None:
    """DataError: a text contains NUL or half of a surrogate pair, which databases reject."""
    for text in iterate_texts(record):
        if "\0" in text:
            raise DataError(f"{where}: a text holds the character NUL (\\u0000); take it out")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"{where}: a text holds half of a surrogate pair (\\ud800 to \\udfff); take it out")


def iterate_texts(value: Any) -> Iterator[str]:
    """Return all texts at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from iterate_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from iterate_texts(item)


def shorten(value: Any) -> str:
    """Format a value for an error message, cut to one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_typed(record: Line, key: str, kind: Any, default: Any, where: Place) -> Any:
    """Return a field of the given type, or its default. DataError: another type."""
    value = record.get(key, default)
    if not isinstance(value, kind):
        type_name = {bool: "true or false", str: "a text", dict: "an object"}.get(kind, "a text or null")
        raise DataError(f"{where}: `{key}` must be {type_name}, got {shorten(value)}")
    return value


def check_choice(value: Any, allowed: tuple[str, ...], key: str, where: Place) -> None:
    """DataError: not one of the allowed values."""
    if value not in allowed:
        raise DataError(f"{where}: `{key}` must be one of {', '.join(allowed)}, got {shorten(value)}")


def refuse_unknown(record: Line, fields: set[str], where: Place) -> None:
    """DataError: a field that is not part of the format."""
    for key in record:
        if key not in fields:
            matches = difflib.get_close_matches(key, sorted(fields), 1)
            hint = f"did you mean `{matches[0]}`?" if matches else f"allowed: {', '.join(sorted(fields))}"
            raise DataError(f"{where}: unknown field `{key}`; {hint}")
