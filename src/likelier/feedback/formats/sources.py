"""Files that hold records, whatever the records say: lines of JSON, a JSON array, CSV, Parquet, a data set of a hub."""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from likelier.errors import DataError
from likelier.feedback.formats.entry import Line, Place, refuse_unstorable, shorten
from likelier.files import dump_line, explain_unreadable, parse_line, read_lines
from likelier.files.json_text import check_fields, list_fields, parse_json

CONTAINERS = ("csv", "parquet", "hub")
"""Formats that name the kind of file; what its rows say is another question."""
MAX_DOCUMENT_BYTES = 1 << 30
"""A larger JSON array is refused: it is parsed as a whole, unlike lines of JSON."""
FIRST_BYTES = 1 << 16
DELIMITERS = {".csv": ",", ".tsv": "\t"}
QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")


class Row(NamedTuple):
    """One record of a file: a line of JSON still to be parsed, or what a parsed file holds."""

    where: Place
    content: Any

    def as_text(self) -> str:
        """Return the record as a line of JSON, for the file of rejected ones."""
        if isinstance(self.content, str):
            return self.content
        return json.dumps(self.content, ensure_ascii=False, sort_keys=True, default=str)


def read_record(row: Row) -> Line:
    """Return a row's record. DataError: it is none, or holds what no database takes."""
    if isinstance(row.content, str):
        record = parse_line(row.where.path, row.where.number, row.content)
        if "\\u" in row.content:  # only an escape can bring in what no database takes
            refuse_unstorable(record, row.where)
        return record
    if not isinstance(row.content, dict):
        raise DataError(f"{row.where}: expected a JSON object, got {shorten(row.content)}")
    check_fields(row.content, str(row.where))
    refuse_unstorable(row.content, row.where)
    return row.content


def name_container(path: Path) -> str:
    """Return the kind of a file by its first bytes and its name: csv, parquet, array, object, lines, or text.

    DataError: it cannot be read.
    """
    start = read_start(path)
    if start.startswith(b"PAR1"):
        return "parquet"
    if suffix(path) in DELIMITERS:
        return "csv"
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    if text.startswith("["):
        return "array"
    if text.partition("\n")[0].strip() == "{":  # an object over several lines
        return "object"
    return "lines" if text.startswith("{") or not text else "text"


def open_rows(path: Path, container: str) -> Iterator[Row]:
    """Yield the records of a file or data set. DataError: it is absent or damaged."""
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {
        "csv": read_csv,
        "parquet": read_parquet,
        "hub": read_hub,
        "array": read_document,
        "object": read_document,
    }
    if container in readers:
        return readers[container](path)
    return (Row(Place(path, number), text) for number, text in read_lines(path))


def suffix(path: Path) -> str:
    """Return the ending of a file's name in lower case, that of `a.csv.gz` being `.csv`."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def read_start(path: Path) -> bytes:
    """Return a file's first bytes, of a gzipped one those within. DataError: it cannot be read."""
    if not path.is_file():
        is_like_hub = len(path.parts) == 2 and not path.exists() and not path.suffix
        hint = "; --format hub loads a data set of the hub" if is_like_hub else ""
        raise DataError(f"{path}: {explain_unreadable(path)}{hint}")
    return read_bytes(path, FIRST_BYTES)


def read_bytes(path: Path, limit: int) -> bytes:
    """Return up to `limit` bytes of a file, gzipped or not. DataError: it cannot be read."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return bytes(file.read(limit))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file; download or pack it again") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def read_whole(path: Path) -> str:
    """Return a whole file. DataError: too large, or not UTF-8."""
    raw = read_bytes(path, MAX_DOCUMENT_BYTES + 1)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"{path}: above {MAX_DOCUMENT_BYTES >> 30} GiB; write it as JSON lines, which are read one by one"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error


def read_document(path: Path) -> Iterator[Row]:
    """Yield the records of a JSON array, or the one record that a JSON object is."""
    document = parse_json(read_whole(path), str(path))
    for number, record in enumerate(document if isinstance(document, list) else [document], 1):
        yield Row(Place(path, number, "record"), dump_line(record) if isinstance(record, str) else record)


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header; `'=` at the start of a cell, which spares a formula, is `=`."""
    text = read_whole(path)
    start = text[: text.find("\n") + 1] or text
    delimiter = DELIMITERS.get(suffix(path), ",")
    if delimiter == "," and start.count(";") > start.count(","):  # as spreadsheets of many countries write it
        delimiter = ";"
    csv.field_size_limit(MAX_DOCUMENT_BYTES)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        if len(set(names)) < len(names):
            raise DataError(f"{path}:1: two columns of one name (found {', '.join(names)})")
        for number, cells in enumerate(rows, 2):
            if len(cells) > len(names):
                raise DataError(f"{path}: row {number} has {len(cells)} cells, the header {len(names)}; quote commas")
            if cells:
                values = [cell[1:] if QUOTED_FORMULA.match(cell) else cell for cell in cells]
                yield Row(Place(path, number, "row"), dict(zip(names, values, strict=False)))
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not CSV ({error})") from error


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file. DataError: a damaged file. ModuleNotFoundError: pyarrow is an extra."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(Place(path, number, "row"), plain(record))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error


def read_hub(name: Path) -> Iterator[Row]:
    """Yield the rows of a data set of the Hugging Face hub, `NAME` or `NAME:SPLIT` (`train` unless given).

    DataError: no such data set or split, or no connection. ModuleNotFoundError: datasets is an extra.
    """
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    repository, _, split = str(name).partition(":")
    try:
        rows = load_dataset(repository, split=split or "train")
    except (OSError, ValueError) as error:  # absent, offline, another configuration or split
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: cannot be loaded from the hub ({reason}); --format hub takes NAME:SPLIT") from error
    for number, record in enumerate(rows, 1):
        yield Row(Place(name, number, "row"), plain(record))


def plain(value: Any) -> Any:
    """Return a table's value as JSON has it: NaN, which stands for nothing there, is null, a date its text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def rename_columns(record: Line, columns: dict[str, str], where: Place) -> tuple[Line, tuple[str, ...]]:
    """Return a record with the columns that `{name: column}` renames, and the names of those that it displaces.

    DataError: a column is absent.
    """
    for name, column in columns.items():
        if column not in record:
            raise DataError(f"{where}: no column `{column}` for {name} (found {list_fields(record)})")
    displaced = tuple(name for name in columns if record.get(name) and name not in columns.values())
    rest = {name: value for name, value in record.items() if name not in columns and name not in columns.values()}
    return rest | {name: record[column] for name, column in columns.items()}, displaced
