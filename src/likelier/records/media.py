"""Media files: recognised by their first bytes, described by their SHA-256, copied whole or not at all."""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from likelier.errors import DataError, cannot_write
from likelier.files import explain_unreadable, sync_folder

MEDIA_KINDS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}
"""MIME types that a media response may have, with the extension of an exported file."""
MEDIA_FOLDER = "media"
"""Where a file that refers to media has them, beside it."""
CHUNK = 1 << 20
HEAD_BYTES = 4096
"""Bytes at the beginning of a file that tell its kind."""
MAGIC = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL)),
    ("audio/wav", re.compile(rb"(RIFF|RF64)....WAVE", re.DOTALL)),
    ("audio/mpeg", re.compile(rb"ID3[\x02-\x04]")),
    # A frame header of MPEG audio layer III: sync, version 1, 2 or 2.5, a valid bitrate and sampling rate.
    ("audio/mpeg", re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]", re.DOTALL)),
    # The first page of an Ogg stream is the header of its codec; Theora, a video codec, is not among these.
    ("audio/ogg", re.compile(rb"OggS\x00\x02.{20}\x01.(\x01vorbis|OpusHead|Speex   |\x7fFLAC)", re.DOTALL)),
    ("video/mp4", re.compile(rb"....ftyp(iso[m2-9]|mp4[12]|avc1|M4V |dash|MSNV)", re.DOTALL)),
    ("video/webm", re.compile(rb"\x1a\x45\xdf\xa3.{0,64}?\x42\x82.{1,8}?webm", re.DOTALL)),
)
"""MIME type and the pattern that a file of that type begins with."""


@dataclass(frozen=True)
class Media:
    """An image, sound or video file. `kind` is its MIME type, one of `MEDIA_KINDS`; `size` is in bytes."""

    kind: str
    sha256: str
    size: int


def media_kind(head: bytes) -> str | None:
    """Return the MIME type of a file from its first bytes; None if it is not one of `MEDIA_KINDS`."""
    return next((kind for kind, pattern in MAGIC if pattern.match(head)), None)


def read_media(path: Path) -> Media:
    """Return kind, hash and size of a media file. DataError: no such file, or an unsupported type."""
    try:
        status = path.stat()
        if not path.is_file():
            raise DataError(f"{path}: {explain_unreadable(path) if path.is_dir() else 'not a regular file'}")
        return describe(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


@lru_cache(maxsize=4096)
def describe(path: Path, size: int, modified_ns: int) -> Media:
    """Cached `read_media`, keyed by size and modification time, since many lines may refer to one file."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        kind = media_kind(head)
        if kind is None:
            raise DataError(f"{path}: {explain_unsupported(head)}; use {', '.join(MEDIA_KINDS)}")
        file.seek(0)
        return Media(kind, hashlib.file_digest(file, "sha256").hexdigest(), size)


def explain_unsupported(head: bytes) -> str:
    """Explain why the first bytes of a file match no supported media type."""
    if not head:
        return "an empty file"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "HTML, SVG and XML are refused, since they can run scripts in a browser"
    return "its first bytes are of no kind of media that is accepted"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_verified(source: Path, target: Path, media: Media) -> None:
    """Copy a file atomically and flush it to disk. DataError: its hash differs from that of `media`."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as original, open(partial, "wb") as copy:
            sha256 = copy_and_hash(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        if sha256 != media.sha256:
            raise DataError(f"{source}: changed, its SHA-256 is {sha256} and not {media.sha256}")
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        if error.filename == str(source):
            raise DataError(f"{source}: cannot be read ({error.strerror})") from error
        raise cannot_write(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def copy_and_hash(original: BinaryIO, copy: BinaryIO) -> str:
    """Copy a stream; returns its SHA-256."""
    sha256 = hashlib.sha256()
    while chunk := original.read(CHUNK):
        sha256.update(chunk)
        copy.write(chunk)
    return sha256.hexdigest()
