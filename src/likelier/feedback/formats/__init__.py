"""Import of data files into a store, and export; the table of formats."""

import difflib
import filecmp
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from likelier.errors import ConfigError, DataError, cannot_write
from likelier.feedback.formats import (
    anthropic,
    argilla,
    chatbot_arena,
    label_studio,
    llama_factory,
    native,
    open_webui,
    openai,
    openai_summaries,
    table,
    trl,
    trl_prompts,
    trl_unpaired,
    ultrafeedback,
)
from likelier.feedback.formats.entry import Entry, Line, Place, SetUp
from likelier.feedback.formats.importer import Importer, ParsedRow
from likelier.feedback.formats.recognise import explain_unknown, recognise
from likelier.feedback.formats.set_up import read_project
from likelier.feedback.formats.sources import (
    CONTAINERS,
    Row,
    name_container,
    open_rows,
    read_record,
    read_start,
    rename_columns,
)
from likelier.feedback.formats.winners import names_winner
from likelier.feedback.store import Store
from likelier.files import write_array, write_jsonl
from likelier.files.outputs import is_stream, unused_path
from likelier.records import JudgedComparison

BATCH = 1000
ROWS_TO_RECOGNISE = 20
"""Among so many rows at the start of a file one must be of a format that is known."""
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
Read = Callable[[Line, Place], Entry | list[Entry] | SetUp]
Write = Callable[[JudgedComparison], Line | None]
WriteFile = Callable[[Path, Iterator[Line], bool], int]


class Format(NamedTuple):
    """Reader and writer of a file format."""

    read: Read
    """Makes the entries of a record. DataError: what is wrong with it, and its place."""
    lines: Callable[[Store], Iterator[Line | None]] | None = None
    """All lines of an export; None for each judgement that the format cannot hold. Formats without are only read."""
    holds_media: bool = False
    """Media responses are written, as files beside the JSONL file."""
    holds_ratings: bool = False
    """`lines` has the ratings of single responses too; elsewhere each is counted as skipped."""
    holds_rankings: bool = False
    """`lines` has the rankings too; elsewhere each is counted as skipped."""
    holds_set_up: bool = False
    """`lines` has the project's settings, guidelines and gold items too; elsewhere each is counted as skipped."""
    columns_in: str = ""
    """The object within a record whose fields `columns` renames; empty for the record itself."""
    write_file: WriteFile = write_jsonl
    """Writes the lines of an export."""
    is_array: bool = False
    """The format's own tool reads and writes a JSON array: an export named `.json` is one."""
    lines_suffix: str = ".jsonl"

    @property
    def suffix(self) -> str:
        """Return the suffix of a file as the format's own tool reads it."""
        return ".json" if self.is_array else self.lines_suffix


def write_lines(write: Write, store: Store) -> Iterator[Line | None]:
    """Write one line per judgement of text responses."""
    return (write(judged) if judged.is_text else None for judged in store.judged_by_content())


FORMATS = {
    "trl": Format(trl.read, partial(write_lines, trl.write)),
    "trl-unpaired": Format(trl_unpaired.read, trl_unpaired.lines, holds_ratings=True),
    "trl-prompts": Format(trl_prompts.read, trl_prompts.lines),
    "anthropic": Format(anthropic.read, partial(write_lines, anthropic.write)),
    "openai": Format(openai.read, partial(write_lines, openai.write)),
    "openai-summaries": Format(openai_summaries.read, partial(write_lines, openai_summaries.write)),
    "label-studio": Format(label_studio.read, label_studio.lines, columns_in="data", is_array=True),
    "argilla": Format(argilla.read, argilla.lines, columns_in="fields", is_array=True),
    "llama-factory": Format(llama_factory.read, partial(write_lines, llama_factory.write), is_array=True),
    "chatbot-arena": Format(chatbot_arena.read, partial(write_lines, chatbot_arena.write), is_array=True),
    "open-webui": Format(open_webui.read),
    "ultrafeedback": Format(ultrafeedback.read),
    "csv": Format(table.read, partial(write_lines, table.write), write_file=table.write_csv, lines_suffix=".csv"),
    "parquet": Format(
        table.read, partial(write_lines, table.write), write_file=table.write_parquet, lines_suffix=".parquet"
    ),
    "hub": Format(table.read),
    "likelier": Format(
        native.read, native.lines, holds_media=True, holds_ratings=True, holds_rankings=True, holds_set_up=True
    ),
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
    ratings: int = 0
    """Thumbs and ratings of single responses."""
    quarantine: str | None = None
    """Where the bad lines are, with the reason for each."""
    passed_over: tuple[str, ...] = ()
    """Columns that the format does not read, and that held something."""
    format: str = ""
    """As what the file was read."""
    settings: Literal["taken", "kept"] | None = None
    """What became of a project's settings in the file: `kept` are others that the project has already."""
    guidelines: int = 0
    """New versions."""
    gold: int = 0
    """New gold and training items."""


@dataclass(frozen=True)
class ExportCounts:
    """Lines `written`, and what is `skipped` because the format cannot hold it: judgements, ratings, rankings, the
    project's settings, versions of its guidelines, gold items."""

    written: int
    skipped: int


def import_file(
    path: Path,
    format_name: str | None,
    store: Store,
    skip_bad: bool = False,
    columns: Mapping[str, str] = NO_COLUMNS,
) -> ImportCounts:
    """Import a file (gzipped or not) in one transaction: all of it or nothing.

    Without a name the format is recognised. `columns` renames columns of the file, {name in the format: column}. With
    `skip_bad` bad records are written to a quarantine file next to the database. Importing a file twice stores nothing
    new. DataError: names the first bad record and their number, or there is no good one, or a format that is not
    known. ConfigError: an unknown format.
    """
    if format_name is not None:
        find_format(format_name)
    container = format_name if format_name in CONTAINERS else name_container(path)
    name, rows = choose_format(path, format_name, container, columns)
    read = partial(parse_row, FORMATS[name], dict(columns))
    with store.transaction() as writer:
        importer = Importer(writer)
        bad = import_rows(rows, read, importer)
        if bad and not (skip_bad and importer.num_read):
            raise DataError(bad[0]["reason"] + explain_bad_lines(len(bad), importer.num_read, path, container, name))
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
        ratings=store.count_ratings(),
        quarantine=quarantine,
        passed_over=tuple(importer.passed_over),
        format=format_name or name,
        settings=importer.settings,
        guidelines=importer.num_guidelines,
        gold=importer.num_gold,
    )


def choose_format(
    path: Path, format_name: str | None, container: str, columns: Mapping[str, str]
) -> tuple[str, Iterator[Row]]:
    """Return the name of the format of a file's records, given or recognised by the first of them, and its rows."""
    if format_name is not None and format_name not in CONTAINERS:
        return format_name, open_rows(path, container)
    if container == "text":
        raise explain_unknown(path, container, read_start(path).decode("utf-8", errors="replace"))
    rows = open_rows(path, container)
    first = list(islice(rows, ROWS_TO_RECOGNISE))
    if not first:
        raise DataError(f"{path}: no records; it should hold one JSON object a line")
    record: Any = None
    for row in first:
        try:
            record = read_record(row)
        except DataError:
            continue
        if name := recognise_renamed(record, dict(columns), row.where, container):
            return name, chain(first, rows)
    if record is None:
        read_record(first[0])  # which raises: no row can be read
    raise explain_unknown(path, container, record)


def recognise_renamed(record: Line, columns: dict[str, str], where: Place, container: str) -> str | None:
    """Return the format of a record with its columns renamed, unless the format renames those of an inner object."""
    name = recognise(record)
    if columns and not (name and FORMATS[name].columns_in in record):
        record = rename_columns(record, columns, where)[0]
        name = recognise(record)
    if container in CONTAINERS and (table.is_table(record) or (name is None and names_winner(record))):
        return container
    return name


def is_hh_rlhf(path: Path) -> bool:
    """Return True if the first line is of the `anthropic` format, which `trl` reads as plain text."""
    row = next(open_rows(path, name_container(path)))
    try:
        anthropic.read(read_record(row), row.where)
    except DataError:
        return False
    return True


def import_rows(rows: Iterator[Row], read: Callable[[Row], ParsedRow], importer: Importer) -> list[dict[str, Any]]:
    """Import the valid rows; return the bad ones with number and reason."""
    bad = []
    while batch := list(islice(rows, BATCH)):
        parsed = []
        for row in batch:
            try:
                parsed.append(read(row))
            except DataError as error:
                bad.append({"line": row.where.number, "reason": str(error), "text": row.as_text()})
        for refused, reason in importer.add(parsed):
            where = refused.row.where
            bad.append({"line": where.number, "reason": f"{where}: {reason}", "text": refused.row.as_text()})
    return sorted(bad, key=itemgetter("line"))


def parse_row(chosen: Format, columns: dict[str, str], row: Row) -> ParsedRow:
    """Parse one row and read its record."""
    record = read_record(row)
    displaced: tuple[str, ...] = ()
    if columns:
        inner = record.get(chosen.columns_in)
        if chosen.columns_in and isinstance(inner, dict):
            renamed, displaced = rename_columns(inner, columns, row.where)
            record = record | {chosen.columns_in: renamed}
        else:
            record, displaced = rename_columns(record, columns, row.where)
    parts = chosen.read(record, row.where)
    if isinstance(parts, SetUp):
        return ParsedRow(row, [], parts)
    entries = parts if isinstance(parts, list) else [parts]
    if displaced:
        entries = [replace(entries[0], passed_over=(*entries[0].passed_over, *displaced)), *entries[1:]]
    return ParsedRow(row, entries)


def explain_bad_lines(num_bad: int, num_good: int, path: Path, container: str, name: str) -> str:
    """Return the text after the first error: the number of bad lines, and what to do."""
    if not num_good:
        other = find_other_format(path, container, name)
        question = f"is it {other}?" if other else "is the format right?"
        if num_bad == 1:
            return f" ({question})" if other else ""
        return f" (and so on: none of the {num_bad} lines can be read; {question})"
    lines = "1 bad line" if num_bad == 1 else f"{num_bad} bad lines"
    return f" ({lines} in the file; --skip-bad leaves them out)"


def find_other_format(path: Path, container: str, name: str) -> str | None:
    """Return the format that the first record of a file is of, if it is another than `name`."""
    try:
        other = recognise(read_record(next(open_rows(path, container))))
    except DataError:
        return None
    return other if other != name else None


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
    if chosen.lines is None:
        exported = ", ".join(name for name, other in FORMATS.items() if other.lines)
        raise ConfigError(f"--format {format_name}: is only read; choose one of {exported}")
    written_lines = chosen.lines(store)

    def writable_lines() -> Iterator[Line]:
        nonlocal num_skipped
        for line in written_lines:
            if line is None:
                num_skipped += 1
            else:
                yield line

    if chosen.holds_media:
        export_media(store, path)
    try:
        as_array = chosen.is_array and path.name.endswith((".json", ".json.gz"))
        num_written = (write_array if as_array else chosen.write_file)(path, writable_lines(), True)
    except OSError as error:
        raise cannot_write(path, error) from error
    num_lost = 0 if chosen.holds_ratings else sum(1 for _ in store.rated_by_content())
    num_lost += 0 if chosen.holds_rankings else sum(1 for _ in store.ranked_by_content())
    num_lost += 0 if chosen.holds_set_up else read_project(store).count_lines()
    return ExportCounts(num_written, num_skipped + num_lost)


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
