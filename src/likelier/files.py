"""Files: JSON and JSON lines read with errors that name file and line, written whole or not at all."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from likelier.errors import DataError, cannot_write

sorted_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def stable_id(*parts: Any) -> str:
    """Sixteen hex digits that depend on nothing but the content of `parts`."""
    return hashlib.sha256(sorted_json(parts).encode()).hexdigest()[:16]


def no_file(path: Path) -> str:
    """Why nothing can be read from a path that is no file."""
    return "a folder, not a file" if path.is_dir() else "no such file"


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, record) of a JSON-lines file, gzip'ed or not, read line by line; blank lines are passed over.

    DataError: the file is missing, not UTF-8, or a line is not a JSON object (named by its number).
    """
    for number, line in read_lines(path):
        yield number, parse_line(path, number, line)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a run's log. A run that was killed, or is writing now, may end in half a line: it is left out.

    DataError: as `read_jsonl`, for any other line.
    """
    return [parse_line(path, number, line) for number, line in read_lines(path, half_last_line=True)]


def read_lines(path: Path, half_last_line: bool = False) -> Iterator[tuple[int, str]]:
    """(line number, line) of a UTF-8 text file, gzip'ed or not, blank lines passed over.

    `half_last_line`: broken JSON behind the last line end is passed over too.
    """
    if not path.is_file():
        raise DataError(f"{path}: {no_file(path)}")
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                if half_last_line and not raw.endswith(b"\n") and is_broken(raw):
                    return
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: not a whole gzip file; download or pack it again") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def is_broken(line: bytes) -> bool:
    """True if a line is not JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """The JSON object on one line. DataError names file and line: broken JSON, not an object, NaN or Infinity."""

    def refuse(token: str) -> None:
        raise DataError(f"{path}:{number}: {token} is not JSON; write a number or null")

    try:
        record = json.loads(line, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: broken JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise DataError(f"{path}:{number}: JSON nested too deep") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}:{number}: expected a JSON object, got {type(record).__name__}")
    if "\\u" in line:  # only an escape can bring in what no file takes
        refuse_half_characters(record, f"{path}:{number}")
    return record


def refuse_half_characters(record: Any, where: str) -> None:
    """DataError: a text holds half of a surrogate pair, which cannot be written as UTF-8."""
    try:
        sorted_json(record).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: a text holds half of a surrogate pair (\\ud800 to \\udfff); take it out") from error


def dump_line(record: Any) -> str:
    """One record as one line of JSON: keys sorted, so that equal records give equal bytes."""
    return json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False)


def write_whole(path: Path, write: Callable[[TextIO], object]) -> None:
    """Write a text file whole or not at all: a reader sees the old file until the new one is on disk.

    A link stays, and what it leads to is written; a device or a pipe (`/dev/stdout`) is written as it is.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            write(file)
        return
    whole = Path(os.path.realpath(path))
    partial = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    try:
        refuse_folder(whole)
        make_parent(whole)
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, whole)
    except OSError as error:
        if error.filename in (None, str(partial), str(whole)):  # the user knows the file by the name that was given
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    with open(path, "r+b") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that a new or renamed file survives a power failure."""
    if sys.platform == "win32":  # folders cannot be opened there; NTFS logs names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_folder(path: Path) -> None:
    """OSError: a folder stands where a file is to be written."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def make_parent(path: Path) -> None:
    """Make the folder that a file is to stand in. OSError, with the file's name: it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        number = errno.ENOTDIR if error.errno == errno.EEXIST else error.errno or errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def must_be_writable(path: Path) -> None:
    """Before hours of work: LikelierError if no file can be written at `path`. Leaves nothing behind."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        refuse_folder(path)
        make_parent(path)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Write dictionaries or dataclasses, one a line, whole or not at all; returns how many."""
    count = 0

    def write(file: TextIO) -> None:
        nonlocal count
        for record in records:
            file.write(dump_line(record if isinstance(record, dict) else asdict(record)) + "\n")
            count += 1

    write_whole(path, write)
    return count


def write_json(path: Path, record: Any) -> None:
    """Write one JSON document, indented, whole or not at all."""
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text))


def read_json(path: Path) -> Any:
    """One JSON document. DataError: missing or broken."""
    if not path.is_file():
        raise DataError(f"{path}: {no_file(path)}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: broken JSON ({error})") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
