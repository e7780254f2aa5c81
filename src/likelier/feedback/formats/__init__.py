"""Import of data files into a store, and export; the table of formats."""

import difflib
import filecmp
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from likelier.errors import ConfigError, DataError, cannot_write
from likelier.feedback.formats import anthropic, native, openai_summaries, trl
from likelier.feedback.formats.entry import Entry, Line, Place, refuse_unstorable
from likelier.feedback.formats.importer import Importer, ParsedLine
from likelier.feedback.store import Store
from likelier.files import parse_line, read_lines, write_jsonl
from likelier.files.outputs import is_stream, unused_path
from likelier.records import JudgedComparison

BATCH = 1000
Write = Callable[[JudgedComparison], Line | None]


class Format(NamedTuple):
    """Reader and writer of a file format."""

    read: Callable[[Line, Place], Entry]
    """Makes an entry of a line. DataError: what is wrong with the line, and its place."""
    lines: Callable[[Store], Iterator[Line | None]]
    """All lines of an export; None for each judgement that the format cannot hold."""
    holds_media: bool = False
    """Media responses are written, as files beside the JSONL file."""


def write_lines(write: Write, store: Store) -> Iterator[Line | None]:
    """Write one line per judgement of text responses."""
    return (write(judged) if judged.is_text else None for judged in store.judged_by_content())


FORMATS = {
    "trl": Format(trl.read, partial(write_lines, trl.write)),
    "anthropic": Format(anthropic.read, partial(write_lines, anthropic.write)),
    "openai-summaries": Format(openai_summaries.read, partial(write_lines, openai_summaries.write)),
    "likelier": Format(native.read, native.lines, holds_media=True),
}


@dataclass(frozen=True)
class ImportCounts:
    """Lines `read`, bad lines `skipped`, new records `stored` (judgements, or what lines without one hold), and totals
    of the database after the import."""

    read: int
    stored: int
    skipped: int
    judgements: int
    annotators: int
    quarantine: str | None = None
    """Where the bad lines are, with the reason for each."""
    passed_over: tuple[str, ...] = ()
    """Columns that the format does not read, and that held something."""


@dataclass(frozen=True)
class ExportCounts:
    """Lines `written`, and judgements `skipped` because the format cannot hold them."""

    written: int
    skipped: int


def import_file(path: Path, format_name: str, store: Store, skip_bad: bool = False) -> ImportCounts:
    """Import a file (gzipped or not) in one transaction: all of it or nothing.

    With `skip_bad` bad lines are written to a quarantine file next to the database. Importing a file twice stores
    nothing new. DataError: names the first bad line and their number, or there is no good line. ConfigError: an unknown
    format.
    """
    read = find_format(format_name).read
    with store.transaction() as writer:
        importer = Importer(writer)
        bad = import_lines(path, read, importer)
        if bad and not (skip_bad and importer.num_read):
            raise DataError(bad[0]["reason"] + explain_bad_lines(len(bad), importer.num_read))
        if not importer.num_read:
            raise DataError(f"{path}: no records; it should hold one JSON object a line")
        quarantine = write_quarantine(quarantine_path(path, store), bad) if bad else None
    totals = store.counts()
    return ImportCounts(
        read=importer.num_read + len(bad),
        stored=importer.num_stored,
        skipped=len(bad),
        judgements=totals["judgements"],
        annotators=totals["annotators"],
        quarantine=quarantine,
        passed_over=tuple(importer.passed_over),
    )


def is_hh_rlhf(path: Path) -> bool:
    """Return True if the first line is of the `anthropic` format, which `trl` reads as plain text."""
    number, text = next(read_lines(path))
    try:
        read_entry(Place(path, number), text, anthropic.read)
    except DataError:
        return False
    return True


def import_lines(path: Path, read: Callable[[Line, Place], Entry], importer: Importer) -> list[dict[str, Any]]:
    """Import the valid lines; return the bad ones with number and reason."""
    bad = []
    lines = read_lines(path)
    while batch := list(islice(lines, BATCH)):
        parsed = []
        for number, text in batch:
            try:
                parsed.append(ParsedLine(number, text, read_entry(Place(path, number), text, read)))
            except DataError as error:
                bad.append({"line": number, "reason": str(error), "text": text})
        for line, reason in importer.add(parsed):
            bad.append({"line": line.number, "reason": f"{path}:{line.number}: {reason}", "text": line.text})
    return sorted(bad, key=itemgetter("line"))


def read_entry(where: Place, text: str, read: Callable[[Line, Place], Entry]) -> Entry:
    """Parse one line and read its record into an `Entry`."""
    record = parse_line(where.path, where.number, text)
    if "\\u" in text:  # only an escape can bring in what no database takes
        refuse_unstorable(record, where)
    return read(record, where)


def explain_bad_lines(num_bad: int, num_good: int) -> str:
    """Return the text after the first error: the number of bad lines, and what to do."""
    if not num_good:
        return "" if num_bad == 1 else f" (and so on: none of the {num_bad} lines can be read; is the format right?)"
    lines = "1 bad line" if num_bad == 1 else f"{num_bad} bad lines"
    return f" ({lines} in the file; --skip-bad leaves them out)"


def quarantine_path(path: Path, store: Store) -> Path:
    """Return the path for rejected lines: next to the database, for PostgreSQL in the working folder."""
    return (store.path.parent if store.path else Path()) / f"{path.name}.bad.jsonl"


def write_quarantine(target: Path, bad: list[dict[str, Any]]) -> str:
    """Write the rejected lines and return the file's name.

    Existing files are kept: the name gets a number, unless the existing file holds the same lines.
    """
    written = unused_path(target)
    try:
        write_jsonl(written, bad, private=True)
        if written != target and target.is_file() and filecmp.cmp(target, written, shallow=False):
            written.unlink()
            return str(target)
    except OSError as error:
        raise cannot_write(written, error, "; the rejected lines go beside the database") from error
    return str(written)


def export_file(store: Store, format_name: str, path: Path) -> ExportCounts:
    """Write all judgements to a file atomically; equal content gives equal bytes.

    Media files are written first, into a folder next to it. ConfigError: an unknown format, or the path cannot be
    written. DataError: a media file is missing or was changed. LikelierError: writing failed.
    """
    chosen, num_skipped = find_format(format_name), 0

    def writable_lines() -> Iterator[Line]:
        nonlocal num_skipped
        for line in chosen.lines(store):
            if line is None:
                num_skipped += 1
            else:
                yield line

    if chosen.holds_media:
        export_media(store, path)
    try:
        num_written = write_jsonl(path, writable_lines(), private=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return ExportCounts(num_written, num_skipped)


def export_media(store: Store, path: Path) -> None:
    """Copy all media files to the folder that the lines of `path` refer to."""
    media = store.media()
    if media and is_stream(path):
        raise ConfigError(f"{path}: no file, so that media files cannot be written beside it; give -o a file")
    for record in media:
        store.media_folder.copy_to(record, path.parent / native.media_reference(record))


def find_format(name: str) -> Format:
    """Return a format by name. ConfigError: unknown."""
    if name not in FORMATS:
        matches = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"; did you mean {matches[0]}?" if matches else ""
        raise ConfigError(f"--format {name!r}: choose one of {', '.join(FORMATS)}{hint}")
    return FORMATS[name]
