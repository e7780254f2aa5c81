"""Tables of texts (CSV, Parquet, rows of a hub's data set): a pair and its better side, or two sides and a choice.

Columns: `prompt` with `chosen` and `rejected`, or with `left`, `right` and `choice` (left, right, tie); `annotator`,
`left_model`, `right_model`, `both_bad`, `conversation`, `duration_seconds` and `created_at` may stand beside them. Two
lettered answers and the letter of the better one (`response_a`, `response_b`, `preferred`) are read too. A
conversation is a cell with the JSON of its messages. Exports have left, right and choice: ties and sides are kept.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    make_judgement_entry,
    make_preference_entry,
    make_response,
    read_messages,
    read_text,
    record_ignored_fields,
    refuse_equal,
    require,
    shorten,
)
from likelier.feedback.formats.winners import name_columns, read_winner
from likelier.files import dump_line, write_atomically
from likelier.records import JudgedComparison, Prompt, Text, is_message, read_name

CHOICES = ("left", "right", "tie")
WRITTEN = (
    *("prompt", "left", "right", "choice", "annotator", "left_model", "right_model", "both_bad", "conversation"),
    *("duration_seconds", "created_at"),
)
COLUMNS = frozenset((*WRITTEN, "chosen", "rejected"))
FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Cells that a spreadsheet would compute, or that stand for one with a quotation mark before it."""
YES, NO = ("true", "1", "yes"), ("", "false", "0", "no")


def is_table(record: Line) -> bool:
    """True for a row with the columns of a table, all of them texts."""
    for names in (("prompt", "chosen", "rejected"), ("prompt", "left", "right", "choice")):
        if all(isinstance(record.get(name), str) for name in names):
            return True
    return False


def read(record: Line, where: Place) -> Entry:
    """Read one row."""
    if not is_table(record):
        record = name_columns(record, where)
    prompt = Prompt(read_prompt(require(record, "prompt", where), where), read_name(record, "conversation"))
    about = {
        "annotator": read_name(record, "annotator"),
        "created_at": read_name(record, "created_at") or None,
        "duration_seconds": read_seconds(record.get("duration_seconds"), where),
    }
    if "choice" in record:
        return record_ignored_fields(read_choice(record, prompt, about, where), record, COLUMNS)
    better, worse = read_text(record, "chosen", where), read_text(record, "rejected", where)
    entry = make_preference_entry(prompt.text, better, worse, where, {}, **about)
    return record_ignored_fields(replace(entry, prompt=prompt), record, COLUMNS)


def read_choice(record: Line, prompt: Prompt, about: Line, where: Place) -> Entry:
    """Read a row with two sides and the choice between them."""
    choice, both_bad = record["choice"], str(record.get("both_bad") or "").lower()
    if winner := read_winner(choice, ("a", "b")):
        choice = winner.choice
    if choice not in CHOICES:
        raise DataError(f"{where}: `choice` must be one of {', '.join(CHOICES)}, got {shorten(choice)}")
    if both_bad not in (YES if choice == "tie" else ()) + NO:
        raise DataError(f"{where}: `both_bad` is true or false, and of a tie; got {shorten(record['both_bad'])}")
    left, right = (
        make_response(prompt.id, read_text(record, side, where), read_name(record, f"{side}_model"))
        for side in ("left", "right")
    )
    refuse_equal(left.id, right.id, where, "`left` and `right`")
    return make_judgement_entry(prompt, left, right, choice=choice, both_bad=both_bad in YES, **about)


def read_prompt(value: Any, where: Place) -> Text:
    """Return a text, or the messages that a cell holds as a list or as JSON."""
    if isinstance(value, list):
        return read_messages(value, "prompt", where)
    if not isinstance(value, str):
        raise DataError(f"{where}: `prompt` must be a text or a list of messages, got {shorten(value)}")
    return read_messages(messages, "prompt", where) if (messages := parse_messages(value)) else value


def parse_messages(text: str) -> list[Any] | None:
    """Return the messages that a text is the JSON of; None for any other text."""
    if not text.startswith("[{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(map(is_message, value)) else None


def read_seconds(value: Any, where: Place) -> float | None:
    """Return a duration, which CSV has as a text; None if the cell is empty."""
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise DataError(f"{where}: `duration_seconds` must be a number from 0 up, got {shorten(value)}")
    return seconds


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as a row; None for a plain prompt that would be read as messages."""
    judgement, prompt = judged.judgement, judged.prompt
    if isinstance(prompt.text, str) and parse_messages(prompt.text):
        return None
    cells = (
        prompt.text if isinstance(prompt.text, str) else dump_line(prompt.text),
        *(judged.left.text, judged.right.text, judgement.choice, judgement.annotator or None),
        *(judged.left.model or None, judged.right.model or None, judgement.both_bad or None),
        *(prompt.conversation or None, judgement.duration_seconds, judgement.created_at),
    )
    return dict(zip(WRITTEN, cells, strict=True))


def write_csv(path: Path, records: Iterable[Line], private: bool = False) -> int:
    """Write a CSV file with a header atomically; no cell is a formula. Returns the number of rows."""
    count = 0

    def write_rows(file: TextIO) -> None:
        nonlocal count
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(WRITTEN)
        for record in records:
            writer.writerow([write_cell(record[name]) for name in WRITTEN])
            count += 1

    write_atomically(path, write_rows, private)
    return count


def write_cell(value: Any) -> str:
    """Return a value as CSV has it: nothing for None, and a quotation mark before what would be a formula.

    >>> write_cell("=1+1"), write_cell(None), write_cell(True)
    ("'=1+1", '', 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value)
    return f"'{text}" if FORMULA.match(text) else text


def write_parquet(path: Path, records: Iterable[Line], private: bool = False) -> int:
    """Write a Parquet file atomically. ModuleNotFoundError: pyarrow is an extra."""
    import pyarrow
    from pyarrow import parquet

    types = {"both_bad": pyarrow.bool_(), "duration_seconds": pyarrow.float64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in WRITTEN])
    table = pyarrow.Table.from_pylist(list(records), schema=schema)
    packed = io.BytesIO()
    parquet.write_table(table, packed)
    write_atomically(path, lambda file: file.buffer.write(packed.getvalue()), private)
    return int(table.num_rows)
