"""Open WebUI's feedback export: thumbs and ratings from 1 to 10 of single answers, and picks in its arena.

The prompt is the path to the rated message in the chat's snapshot. In the arena a thumb compares the answer with those
beside it, as Open WebUI's own leaderboard counts it; elsewhere it is a thumb. Reason, comment and tags are kept in
`extra`.
"""

from collections.abc import Iterator
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    make_judgement_entry,
    make_rating_entry,
    make_response,
    record_ignored_fields,
    shorten,
)
from likelier.feedback.formats.fields import read_time
from likelier.files.json_text import list_fields
from likelier.records import Choice, Message, Prompt, Response, read_name

EXTRA_KEY = "open-webui"
REASONS = ("reason", "comment", "tags")
THUMBS = {"1": 1.0, "-1": 0.0}
SCALE = [1, 10]
NOT_LOST = frozenset(
    (
        *("id", "user_id", "user", "version", "type", "data", "details", "meta", "base_models", "snapshot"),
        *("created_at", "updated_at"),
    )
)
"""Fields of a record that are read, or say nothing of the answer."""


def read(record: Line, where: Place) -> list[Entry]:
    """Read one record of feedback."""
    data, meta = read_object(record, "data", where), read_object(record, "meta", where)
    messages = find_messages(record, where)
    rated = messages.get(str(meta.get("message_id")))
    if not rated or rated.get("role") != "assistant":
        raise DataError(f"{where}: the snapshot holds no answer {shorten(meta.get('message_id'))}, which was rated")
    prompt = Prompt(read_path(rated, messages, record, where), conversation=read_name(meta, "chat_id"))
    response = read_response(rated, prompt, where)
    reasons = {key: data[key] for key in REASONS if data.get(key)}
    about: Line = {
        "annotator": read_name(record, "user_id"),
        "created_at": read_time(record.get("created_at")),
        "extra": {EXTRA_KEY: reasons} if reasons else {},
    }
    siblings = list(find_siblings(rated, messages)) if meta.get("arena") else []
    thumb = THUMBS.get(str(data.get("rating")))
    entries = []
    if thumb is not None and siblings:
        entries += [compare(rated, other, thumb == 1, prompt, about, where) for other in siblings]
    elif thumb is not None:
        entries.append(make_rating_entry(prompt, response, thumb, "thumbs", **about))
    if (score := read_score(data, record)) is not None:
        extra = about["extra"] | {"scale": SCALE}
        entries.append(make_rating_entry(prompt, response, score, "scale", **about | {"extra": extra}))
    if not entries:
        raise DataError(f"{where}: `rating` must be 1 or -1, got {shorten(data.get('rating'))}")
    return [record_ignored_fields(entries[0], record, NOT_LOST), *entries[1:]]


def read_object(record: Line, key: str, where: Place) -> Line:
    """Return an object of a record. DataError: it is none."""
    if not isinstance(value := record.get(key), dict):
        raise DataError(f"{where}: `{key}` must be an object, got {shorten(value)} (found {list_fields(record)})")
    return value


def find_chat(record: Line) -> Line:
    """Return the innermost object of the snapshot that has a history; empty if there is none."""
    chat = record.get("snapshot")
    while isinstance(chat, dict) and "history" not in chat:
        chat = chat.get("chat")
    return chat if isinstance(chat, dict) else {}


def find_messages(record: Line, where: Place) -> dict[str, Line]:
    """Return the messages of the snapshot by id. DataError: there are none, as in an export for the leaderboard."""
    history = find_chat(record).get("history")
    messages = history.get("messages") if isinstance(history, dict) else None
    listed = messages.values() if isinstance(messages, dict) else messages
    if not isinstance(messages, dict | list) or not listed:
        raise DataError(f"{where}: no `snapshot` with the chat's messages; export the feedback with its chats")
    return {str(message["id"]): message for message in listed if isinstance(message, dict) and "id" in message}


def read_path(rated: Line, messages: dict[str, Line], record: Line, where: Place) -> list[Message]:
    """Return the turns before the rated answer, the chat's system prompt first."""
    turns: list[Message] = []
    parent = rated.get("parentId")
    while parent is not None and str(parent) in messages and len(turns) <= len(messages):
        message = messages[str(parent)]
        if message.get("role") not in ("user", "assistant", "system") or not isinstance(message.get("content"), str):
            raise DataError(f"{where}: a turn before the answer is no text (role {shorten(message.get('role'))})")
        turns.append(Message(role=message["role"], content=message["content"]))
        parent = message.get("parentId")
    if not turns or len(turns) > len(messages):
        raise DataError(f"{where}: no turns lead to the rated answer")
    chat = find_chat(record)
    params = chat.get("params")
    system = params.get("system") if isinstance(params, dict) else None
    if isinstance(system, str) and system and turns[-1]["role"] != "system":
        turns.append(Message(role="system", content=system))
    return turns[::-1]


def read_response(message: Line, prompt: Prompt, where: Place) -> Response:
    """Return an answer with its model."""
    if not isinstance(message.get("content"), str):
        raise DataError(f"{where}: the answer's content must be a text, got {shorten(message.get('content'))}")
    return make_response(prompt.id, message["content"], read_name(message, "model"))


def find_siblings(rated: Line, messages: dict[str, Line]) -> Iterator[Line]:
    """Yield the other answers to the same question."""
    for message in messages.values():
        is_sibling = message.get("parentId") == rated.get("parentId") and message.get("role") == "assistant"
        if is_sibling and message["id"] != rated["id"]:
            yield message


def compare(rated: Line, other: Line, is_better: bool, prompt: Prompt, about: Line, where: Place) -> Entry:
    """Make a judgement of two answers of the arena, the one that was asked for first on the left."""
    first, second = sorted((rated, other), key=lambda message: (message.get("modelIdx") or 0, message is other))
    left, right = (read_response(message, prompt, where) for message in (first, second))
    if left.id == right.id:
        raise DataError(f"{where}: both answers and their models are the same; there is nothing to prefer")
    choice: Choice = "left" if (first is rated) == is_better else "right"
    return make_judgement_entry(prompt, left, right, choice=choice, **about)


def read_score(data: Line, record: Line) -> float | None:
    """Return the rating from 1 to 10, which stands beside the thumb; None if there is none."""
    for place in (data.get("details"), record.get("details")):
        score: Any = place.get("rating") if isinstance(place, dict) else None
        if isinstance(score, int | float) and not isinstance(score, bool) and SCALE[0] <= score <= SCALE[1]:
            return float(score)
    return None
