"""Texts and messages, and the pictures between their words.

In files a picture is a part of a message's content, as transformers' chat templates have it: `{"type": "image",
"path": "digits/3.png"}`. Read, the content is a text again with U+FFFC at the place of each picture and the pictures
beside it, so that whatever reads texts need not know of parts.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import UnionType
from typing import Any, NotRequired, TypedDict

from likelier.errors import DataError
from likelier.files.json_text import list_fields
from likelier.records.media import Media, read_media

PICTURE_MARK = "\ufffc"
"""Where a picture is in a message's text: Unicode's sign for an object between words."""
REPLACEMENT = "\ufffd"
MAX_PICTURE_BYTES = 20_000_000
CALL_FIELDS = ("tool_calls", "function_call")
"""Fields of a turn, beside its text, in which other tools keep what the model called."""


class Picture(TypedDict):
    """A picture in a message: a `Media`, and where its file is; the path is no part of a prompt's id."""

    kind: str
    sha256: str
    size: int
    path: NotRequired[str]


class Message(TypedDict):
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str
    pictures: NotRequired[list[Picture]]
    """One for each U+FFFC in the content, in order; absent without any."""


Text = str | list[Message]
"""A prompt's content: a text that the model continues, or messages rendered by its chat template."""


def to_plain_text(text: Text) -> str:
    """Render a prompt as text for people, each message after its role; a picture is named by its hash."""
    if isinstance(text, str):
        return text
    return "\n\n".join(f"{turn['role']}: {name_pictures(turn)}" for turn in text)


def name_pictures(turn: Message) -> str:
    """The content of a turn with `[picture 1a2b3c4d]` in place of each mark."""
    content = turn["content"]
    for picture in turn.get("pictures", ()):
        content = content.replace(PICTURE_MARK, f"[picture {picture['sha256'][:8]}]", 1)
    return content


def list_pictures(text: Text) -> list[Picture]:
    """Return the pictures of a prompt, in order."""
    return [] if isinstance(text, str) else [picture for turn in text for picture in turn.get("pictures", ())]


def drop_paths(text: Text) -> Text:
    """Return a prompt without the places of its pictures' files: what its id is made of, and a database keeps."""
    if not list_pictures(text):
        return text
    return place_pictures(text, lambda picture: None)


def place_pictures(text: Text, find: Callable[[Picture], str | None]) -> Text:
    """Return a prompt whose pictures have the paths that `find` returns, or none."""
    if isinstance(text, str):
        return text
    return [place_turn(turn, find) for turn in text]


def place_turn(turn: Message, find: Callable[[Picture], str | None]) -> Message:
    """Return a turn whose pictures have the paths that `find` returns, or none."""
    if "pictures" not in turn:
        return turn
    placed = list[Picture]()
    for picture in turn["pictures"]:
        path, moved = find(picture), picture.copy()
        moved.pop("path", None)
        placed.append(moved if path is None else Picture(**moved | {"path": path}))
    return Message(role=turn["role"], content=turn["content"], pictures=placed)


def to_media(picture: Picture) -> Media:
    """The file of a picture as a record."""
    return Media(picture["kind"], picture["sha256"], picture["size"])


def to_parts(text: Text, name_path: Callable[[Picture], str | None] = lambda picture: picture.get("path")) -> Any:
    """Return a prompt as files hold it: turns with pictures have a list of parts, all others stay as they are.

    `name_path` gives the path to write of each picture; None leaves it out.
    """
    if isinstance(text, str):
        return text
    return [{"role": turn["role"], "content": split_content(turn, name_path)} for turn in text]


def split_content(
    turn: Message, name_path: Callable[[Picture], str | None] = lambda picture: picture.get("path")
) -> str | list[dict[str, str]]:
    """Return the content of a turn: a text, or with pictures its parts."""
    if "pictures" not in turn:
        return turn["content"]
    first, *texts = turn["content"].split(PICTURE_MARK)
    parts = [{"type": "text", "text": first}] if first else []
    for picture, text in zip(turn["pictures"], texts, strict=True):
        path = name_path(picture)
        parts.append({"type": "image", **({} if path is None else {"path": path}), "sha256": picture["sha256"]})
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def is_message(turn: Any, content: type[str] | UnionType = str) -> bool:
    """True for an object with a text `role`, and `content` of a type."""
    return isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), content)


def check_text(path: Path, number: int, record: dict[str, Any], key: str, pictures: bool = False) -> Text:
    """Return `record[key]`, a non-empty text or list of messages. DataError names file, line and field.

    Pictures are read where `pictures` is True, from the folder of the file, and refused elsewhere.
    """
    where = f"{path}:{number}"
    if key not in record:
        raise DataError(f"{where}: no field `{key}` (found {list_fields(record)})")
    value = record[key]
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(is_message(turn, str | list) for turn in value):
        refuse_calls(value, key, where)
        return [read_message(turn, key, where, path.parent if pictures else None) for turn in value]
    raise DataError(f"{where}: `{key}` must be a non-empty text or a list of messages with role and content")


def read_message(turn: dict[str, Any], key: str, where: str, folder: Path | None) -> Message:
    """Return a turn of a file, whose content is a text or a list of parts; `folder` holds the pictures.

    DataError: another kind of part, or a picture that cannot be read; with `folder` None any picture.
    """
    role, content = turn["role"], turn["content"]
    if "pictures" in turn:
        raise DataError(f"{where}: `{key}`: a picture is a part of `content`, {{'type': 'image', 'path': ...}}")
    if isinstance(content, str):
        return Message(role=role, content=content)
    texts, pictures = list[str](), list[Picture]()
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(text := part.get("text", part.get("value")), str):
            texts.append(text)
        elif kind == "image" and folder is None:
            raise DataError(f"{where}: `{key}` has a picture, which only candidates, ppo and eval read; leave it out")
        elif kind == "image" and folder is not None:
            pictures.append(read_picture(part, key, where, folder))
            texts.append(PICTURE_MARK)
        else:
            allowed = "{'type': 'text', 'text': ...} or {'type': 'image', 'path': ...}"
            raise DataError(f"{where}: `{key}` has a part {str(part)[:60]}; use {allowed}")
    if not pictures:
        return Message(role=role, content="".join(texts))
    # A mark that the text itself holds, pasted along with other text, must not be taken for a picture.
    marked = [text if text == PICTURE_MARK else text.replace(PICTURE_MARK, REPLACEMENT) for text in texts]
    if sum(text == PICTURE_MARK for text in texts) > len(pictures):
        raise DataError(f"{where}: `{key}` has a text that is only the character U+FFFC; leave it out")
    return Message(role=role, content="".join(marked), pictures=pictures)


def read_picture(part: dict[str, Any], key: str, where: str, folder: Path) -> Picture:
    """Return the picture that a part names. DataError: see `read_message`."""
    reference, label = part.get("path"), f"{where}: `{key}`: picture"
    if not isinstance(reference, str) or not reference:
        raise DataError(f"{label}: no `path`; give a file within {folder}")
    path = folder / reference
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{label}: `path` must lie within {folder}, got {reference[:60]!r}")
    try:
        media = read_media(path)
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
    if not media.kind.startswith("image/"):
        raise DataError(f"{label}: {path} is {media.kind}; give a PNG, JPEG, WebP or GIF")
    if media.size > MAX_PICTURE_BYTES:
        raise DataError(
            f"{label}: {path} has {media.size:,} bytes, at most {MAX_PICTURE_BYTES:,} may be; make it smaller"
        )
    if (expected := part.get("sha256", media.sha256)) != media.sha256:
        raise DataError(f"{label}: {path} was changed: its SHA-256 is {media.sha256}, not {str(expected)[:64]!r}")
    return Picture(kind=media.kind, sha256=media.sha256, size=media.size, path=str(path))


def refuse_calls(turns: Iterable[dict[str, Any]], key: str, where: str) -> None:
    """DataError: a turn contains a tool call, which would be lost, since only texts are read."""
    for turn in turns:
        if call := next((name for name in CALL_FIELDS if turn.get(name)), None):
            raise DataError(
                f"{where}: `{key}` has a turn with `{call}`, and only `content` is read; "
                "write the call there, or leave the line out"
            )
