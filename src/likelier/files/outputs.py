"""Decides if an output may be written: never over an input or a database, over other files only on request."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from likelier.errors import ConfigError

SQLITE_MAGIC = b"SQLite format 3\0"
DATABASE_SUFFIXES = ("-wal", "-shm", "-journal", ".lock")
"""Endings of the files that belong to a SQLite database, after its own name."""
MEDIA_SUFFIX = ".media"
"""Ending of the folder beside a SQLite database that holds its media files."""
GENERATOR_MARK = '<meta name="generator" content="Likelier'
"""How our HTML pages say who wrote them: such a page is replaced by a newer one without asking."""
MARK_BYTES = 4096
"""The mark stands within the first bytes of a page."""
STREAM_NAME = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")
"""Names of a process's open files; other files under `/dev`, as in `/dev/shm`, are files."""


def check_output(path: Path, overwrite: bool = False, inputs: Iterable[Path] = (), mark: str = "") -> None:
    """Check before any work that `path` may be written; links and hard links are resolved.

    `inputs`: files, and folders whose files are protected. A file with `mark` near its beginning is an earlier output
    and may be replaced. ConfigError: `path` is an input or part of a database, or it exists without `overwrite` or the
    mark.
    """
    refuse_database(path)
    is_ours = bool(mark) and has_mark(path, mark)
    for input_path in inputs:
        if same_file(path, input_path) or (not is_ours and input_path.is_dir() and is_within(path, input_path)):
            raise ConfigError(f"{path}: an input of this command ({input_path}), never written over; give another -o")
    if path.is_file() and not (overwrite or is_ours or is_empty_stream(path)):
        raise ConfigError(f"{path}: exists already; --overwrite replaces it, or give another -o")


def refuse_database(path: Path) -> None:
    """ConfigError: `path` is a SQLite database or a file that belongs to one."""
    if (database := owning_database(path)) is None:
        return
    description = "a database" if same_file(path, database) else f"a part of the database {database}"
    raise ConfigError(f"{path}: {description}, never written over; give another -o")


def owning_database(path: Path) -> Path | None:
    """The SQLite database at `path`, or to which the file at `path` belongs; None if there is none."""
    real = Path(os.path.realpath(path))
    owners = [real, *(real.with_name(real.name.removesuffix(end)) for end in DATABASE_SUFFIXES if real.name != end)]
    if real.parent.name.endswith(MEDIA_SUFFIX) and real.parent.name != MEDIA_SUFFIX:
        owners.append(real.parent.with_name(real.parent.name.removesuffix(MEDIA_SUFFIX)))
    return next((owner for owner in owners if is_sqlite(owner)), None)


def is_sqlite(path: Path) -> bool:
    """True if a file has SQLite's magic bytes."""
    return path.is_file() and read_beginning(path, len(SQLITE_MAGIC)) == SQLITE_MAGIC


def has_mark(path: Path, mark: str) -> bool:
    """Return True if a file contains `mark` near its beginning."""
    return path.is_file() and mark.encode() in read_beginning(path, MARK_BYTES)


def read_beginning(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(num_bytes)
    except OSError:
        return b""


def database_files(path: Path) -> list[Path]:
    """A SQLite database with all files that may belong to it, and its media folder."""
    return [path, *(path.with_name(f"{path.name}{end}") for end in (*DATABASE_SUFFIXES, MEDIA_SUFFIX))]


def same_file(first: Path, second: Path) -> bool:
    """Return True if both paths refer to one file, or would if it existed."""
    if first.exists() and second.exists():
        return os.path.samefile(first, second)
    return os.path.realpath(first) == os.path.realpath(second)


def is_within(path: Path, folder: Path) -> bool:
    """True if the file at `path` exists and is one of those in `folder`, under any name."""
    if not path.is_file():
        return False
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        return True
    return path.stat().st_nlink > 1 and any(same_file(path, file) for file in folder.rglob("*") if file.is_file())


def is_stream(path: Path) -> bool:
    """True for a pipe, a device, or a name such as `/dev/stdout`, even if the shell has sent it to a file."""
    is_special = path.exists() and not (path.is_file() or path.is_dir())
    return is_special or STREAM_NAME.fullmatch(str(path)) is not None


def is_empty_stream(path: Path) -> bool:
    """True for a stream that the shell has sent to a new file; `>>` may have sent it to one with content."""
    return is_stream(path) and path.stat().st_size == 0


def unused_path(path: Path) -> Path:
    """`path`, with a number before its suffix if it exists."""
    number, candidate = 1, path
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
