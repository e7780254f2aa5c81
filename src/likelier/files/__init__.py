"""Read JSON and JSON lines with errors that name file and line; write files atomically."""

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from likelier.errors import DataError, cannot_write
from likelier.files.json_text import check_fields, parse_json
from likelier.files.outputs import refuse_database

PRIVATE = 0o600
"""Mode of files with names of people, whatever the umask."""
MAX_LINE_BYTES = 16 << 20
"""A longer line is refused before it is read to its end."""
sorted_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def stable_id(*parts: Any) -> str:
    """Sixteen hex digits of a SHA-256 over the JSON of `parts`: equal in every process and version."""
    return hashlib.sha256(sorted_json(parts).encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content in hex, read in chunks. OSError: it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_file_states(folder: Path) -> list[list[Any]]:
    """Return [name, size, time of change] of each file of a folder, sorted; nothing if it is none."""
    files = sorted(path for path in folder.glob("*") if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def explain_unreadable(path: Path) -> str:
    """Explain why a path that is not a file cannot be read."""
    return "a folder, not a file" if path.is_dir() else "no such file"


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, record) of a JSON-lines file, gzipped or not; blank lines are skipped.

    DataError: the file is missing or not UTF-8, or a line, named by its number, is not a JSON object.
    """
    for number, line in read_lines(path):
        yield number, parse_line(path, number, line)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run's log, ignoring an incomplete last line of a run that was killed or is writing.

    DataError: as `read_jsonl`, for any other line.
    """
    return [parse_line(path, number, line) for number, line in read_lines(path, allow_partial_last_line=True)]


def read_lines(path: Path, allow_partial_last_line: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 text file, gzipped or not; blank lines are skipped.

    `allow_partial_last_line`: invalid JSON after the last newline is skipped too. DataError: missing, not UTF-8, a
    damaged gzip file, or a line above `MAX_LINE_BYTES`, since 1 MB of gzip may expand to a line of a gigabyte.
    """
    if not path.is_file():
        raise DataError(f"{path}: {explain_unreadable(path)}")
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), 1):
                if len(raw) > MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; break it into lines")
                if allow_partial_last_line and not raw.endswith(b"\n") and is_invalid_json(raw):
                    return
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file; download or pack it again") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def is_invalid_json(line: bytes) -> bool:
    """True if a line is not valid JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """Parse the JSON object on a line. DataError with file and line: not an object, too many fields, `parse_json`."""
    where = f"{path}:{number}"
    record = parse_json(line, where)
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(record).__name__}")
    check_fields(record, where)
    if "\\u" in line:  # half a surrogate pair can only come from an escape
        check_no_lone_surrogates(record, where)
    return record


def check_no_lone_surrogates(record: Any, where: str) -> None:
    """DataError: a text contains half of a surrogate pair, which cannot be written as UTF-8."""
    try:
        sorted_json(record).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: a text holds half of a surrogate pair (\\ud800 to \\udfff); take it out") from error


def dump_line(record: Any) -> str:
    """Serialise to one line of JSON with sorted keys, so that equal records give equal bytes."""
    return json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False)


def open_private(path: str | Path, flags: int) -> int:
    """Opener for `open`: a file that it makes can be read and written by its owner alone."""
    return os.open(path, flags, PRIVATE)


def write_atomically(path: Path, write: Callable[[TextIO], object], private: bool = False) -> None:
    """Write a text file atomically: a reader sees the old file until the new one is on disk.

    A symbolic link is kept and its target is written; a device or pipe (`/dev/stdout`) is written directly. Paths that
    end in `.gz` are compressed. With `private` its owner alone may read the file: it holds people's names.
    ConfigError: the path is a database, which is never replaced.
    """
    refuse_database(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        with open(path, "wb") as raw:
            write_text(raw, write, packed=path.suffix == ".gz")
        return
    target = Path(os.path.realpath(path))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        check_not_folder(target)
        make_parent(target)
        with open(unfinished, "wb", opener=open_private if private else None) as raw:
            write_text(raw, write, packed=path.suffix == ".gz")
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        if error.filename in (
            None,
            str(unfinished),
            str(target),
        ):  # name the file as the user did, not as the temporary one
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_text(raw: BinaryIO, write: Callable[[TextIO], object], packed: bool) -> None:
    """Let `write` write UTF-8 text to an open file, gzipped or not; equal text gives equal bytes."""
    zipped = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if packed else None
    text = io.TextIOWrapper(zipped or raw, encoding="utf-8", newline="\n")
    try:
        write(text)
        text.flush()
    finally:
        text.detach()  # the caller closes the file
        if zipped:
            zipped.close()


def sync_file(path: Path) -> None:
    """Flush a file's content to disk."""
    with open(path, "r+b") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's directory entries to disk, so that a new or renamed file survives a power failure."""
    if sys.platform == "win32":  # folders cannot be opened there; NTFS logs names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_not_folder(path: Path) -> None:
    """OSError: there is a folder at the path of a file to be written."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def make_parent(path: Path) -> None:
    """Create the folder of a file. OSError, with the file's name: that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        number = errno.ENOTDIR if error.errno == errno.EEXIST else error.errno or errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def check_writable(path: Path) -> None:
    """Check that a file can be written, before hours of work; leaves nothing behind. LikelierError: it cannot."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        check_not_folder(path)
        make_parent(path)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_jsonl(path: Path, records: Iterable[Any], private: bool = False) -> int:
    """Write dictionaries or dataclasses atomically, one per line; returns their number."""
    count = 0

    def write(file: TextIO) -> None:
        nonlocal count
        for record in records:
            file.write(dump_line(record if isinstance(record, dict) else record_content(record)) + "\n")
            count += 1

    write_atomically(path, write, private)
    return count


def write_array(path: Path, records: Iterable[dict[str, Any]], private: bool = False) -> int:
    """Write a JSON array atomically, one record per line; returns their number."""
    count = 0

    def write(file: TextIO) -> None:
        nonlocal count
        file.write("[")
        for record in records:
            file.write(("," if count else "") + "\n" + dump_line(record))
            count += 1
        file.write("\n]\n")

    write_atomically(path, write, private)
    return count


def record_content(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that take part in comparison; others only record the source."""
    compared = {field.name for field in fields(record) if field.compare}
    return {name: value for name, value in asdict(record).items() if name in compared}


def write_json(path: Path, record: Any, private: bool = False) -> None:
    """Write one JSON document, indented and atomically."""
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text), private)


def read_object(path: Path) -> dict[str, Any]:
    """Read one JSON object; empty if there is no such file. DataError: another type, or as for `read_json`."""
    record = read_json(path) if path.exists() else {}  # a folder of this name is an error, not an absent file
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record


def read_json(path: Path) -> Any:
    """Read one JSON document. DataError: missing, or as for `parse_json`."""
    if not path.is_file():
        raise DataError(f"{path}: {explain_unreadable(path)}")
    try:
        return parse_json(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: broken JSON ({error})") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
