"""Data files into the store and out of it, line by line: which formats there are, importing and exporting."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from likelier.errors import ConfigError, DataError, cannot_write
from likelier.feedback.formats import anthropic, native, openai_summaries, trl
from likelier.feedback.formats.entry import Entry, Line, refuse_unstorable
from likelier.feedback.formats.importer import Intake, Item, given_key
from likelier.feedback.store import Store
from likelier.files import parse_line, read_lines, write_jsonl
from likelier.records import JudgedComparison

BATCH = 1000
CHANGED = "`id` {!r} is stored already with another answer; judgements are never edited, give a new one its own id"
Write = Callable[[JudgedComparison], Line | None]


class Format(NamedTuple):
    """`read` makes an entry of a line and names what is wrong by `where`; `lines` gives all lines of an export, None
    for each judgement that the format cannot hold."""

    read: Callable[[Line, str], Entry]
    lines: Callable[[Store], Iterator[Line | None]]


def each_judgement(write: Write, store: Store) -> Iterator[Line | None]:
    return map(write, store.judged_by_content())


FORMATS = {
    "trl": Format(trl.read, partial(each_judgement, trl.write)),
    "anthropic": Format(anthropic.read, partial(each_judgement, anthropic.write)),
    "openai-summaries": Format(openai_summaries.read, partial(each_judgement, openai_summaries.write)),
    "likelier": Format(native.read, native.lines),
}


@dataclass(frozen=True)
class ImportCounts:
    """Lines `read`, of which `skipped` were bad; how much they `stored` that is new (judgements; of a line without one,
    what it is about, which may be several responses); totals of the database after it."""

    read: int
    stored: int
    skipped: int
    judgements: int
    annotators: int
    quarantine: str | None = None
    """Where the bad lines are, with the reason for each."""


@dataclass(frozen=True)
class ExportCounts:
    """Lines `written`, and judgements `skipped` because the format cannot hold them."""

    written: int
    skipped: int


def import_file(path: Path, format_name: str, store: Store, skip_bad: bool = False) -> ImportCounts:
    """Store a whole file (gzip'ed or not) in one transaction, or nothing of it.

    With `skip_bad` bad lines go to `<file>.bad.jsonl`. The same file again stores nothing new.
    DataError: the first bad line and how many there are, or no good line at all. ConfigError: an unknown format.
    """
    read = known_format(format_name).read
    with store.transaction() as writer:
        intake = Intake(writer)
        bad = read_all(path, read, intake)
        if bad and not (skip_bad and intake.read):
            raise DataError(bad[0]["reason"] + advice(len(bad), intake.read))
        if not intake.read:
            raise DataError(f"{path}: no records; it should hold one JSON object a line")
        quarantine = write_quarantine(path, bad) if bad else None
    totals = store.counts()
    return ImportCounts(
        intake.read + len(bad), intake.stored, len(bad), totals["judgements"], totals["annotators"], quarantine
    )


def are_transcripts(path: Path) -> bool:
    """Whether the first line is of the `anthropic` format: `trl` takes it too, as plain text."""
    number, text = next(read_lines(path))
    try:
        read_entry(path, number, text, anthropic.read)
    except DataError:
        return False
    return True


def read_all(path: Path, read: Callable[[Line, str], Entry], intake: Intake) -> list[dict[str, Any]]:
    """Put the good lines into `intake`; return the bad ones with their number and what is wrong."""
    bad = []
    lines = read_lines(path)
    while batch := list(islice(lines, BATCH)):
        items = []
        for number, text in batch:
            try:
                items.append(Item(number, text, read_entry(path, number, text, read)))
            except DataError as error:
                bad.append({"line": number, "reason": str(error), "text": text})
        for item in intake.add(items):
            reason = f"{path}:{item.number}: {CHANGED.format(given_key(item.entry))}"
            bad.append({"line": item.number, "reason": reason, "text": item.text})
    return sorted(bad, key=itemgetter("line"))


def read_entry(path: Path, number: int, text: str, read: Callable[[Line, str], Entry]) -> Entry:
    where = f"{path}:{number}"
    record = parse_line(path, number, text)
    if "\\u" in text:  # only an escape can bring in what no database takes
        refuse_unstorable(record, where)
    return read(record, where)


def advice(num_bad: int, num_good: int) -> str:
    if not num_good:
        return "" if num_bad == 1 else f" (and so on: none of the {num_bad} lines can be read; is the format right?)"
    lines = "1 bad line" if num_bad == 1 else f"{num_bad} bad lines"
    return f" ({lines} in the file; --skip-bad leaves them out)"


def write_quarantine(path: Path, bad: list[dict[str, Any]]) -> str:
    target = path.with_name(f"{path.name}.bad.jsonl")
    try:
        write_jsonl(target, bad)
    except OSError as error:
        raise cannot_write(target, error, "; copy the data elsewhere") from error
    return str(target)


def export_file(store: Store, format_name: str, path: Path) -> ExportCounts:
    """Write all judgements to a file, whole or not at all; the same content gives the same bytes.

    ConfigError: an unknown format, or no file can stand there. LikelierError: writing failed.
    """
    skipped = 0

    def written() -> Iterator[Line]:
        nonlocal skipped
        for line in known.lines(store):
            if line is None:
                skipped += 1
            else:
                yield line

    known = known_format(format_name)
    try:
        count = write_jsonl(path, written())
    except OSError as error:
        raise cannot_write(path, error) from error
    return ExportCounts(count, skipped)


def known_format(name: str) -> Format:
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--format {name!r}: choose one of {', '.join(FORMATS)}{hint}")
    return FORMATS[name]
