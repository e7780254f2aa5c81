"""Kinds of files that hold records."""

import gzip
import json
from pathlib import Path

import pytest

from data_files import write
from likelier.errors import DataError
from likelier.feedback.formats import import_file
from likelier.feedback.formats.entry import Place
from likelier.feedback.formats.sources import name_container, open_rows, plain, read_record, rename_columns
from likelier.feedback.store import Store

PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", "{}\n{}", "lines"),
        ("a.json", "\ufeff [\n{}]", "array"),
        ("a.jsonl", "[{}]", "array"),
        ("a.json", "{\n}", "object"),
        ("a.csv", "x,y\n", "csv"),
        ("a.tsv", "x\ty\n", "csv"),
        ("a", "PAR1....", "parquet"),
        ("a.txt", "Once", "text"),
        ("a.jsonl", "", "lines"),
    ],
)
def test_a_file_is_known_by_its_beginning(tmp_path: Path, name: str, text: str, kind: str) -> None:
    assert name_container(put(tmp_path / name, text)) == kind


@pytest.mark.parametrize(
    "text", [json.dumps([PAIR, PAIR]), json.dumps([PAIR, PAIR], indent=2), json.dumps(PAIR, indent=1)]
)
def test_an_array_or_an_object_over_lines(store: Store, tmp_path: Path, text: str) -> None:
    assert import_file(put(tmp_path / "a.json", text), None, store).read == 1 + text.startswith("[")


def test_a_bad_record_of_an_array_is_named_by_its_number(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps([PAIR, {"prompt": "p\0"}, "x"]).encode()))
    with pytest.raises(DataError, match=r"a\.json\.gz: record 2: a text holds the character NUL.*2 bad lines"):
        import_file(path, "trl", store)
    assert import_file(path, "trl", store, skip_bad=True).skipped == 2
    (_, second) = (json.loads(line) for line in (tmp_path / "a.json.gz.bad.jsonl").read_text().splitlines())
    assert (second["line"], second["text"]) == (3, '"x"')


def test_a_broken_array(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: broken JSON"):
        import_file(put(tmp_path / "a.json", '[{"prompt": "p"},'), None, store)


def test_a_line_of_json_that_is_no_object(tmp_path: Path) -> None:
    (row,) = open_rows(write(tmp_path / "a.jsonl", {}).with_name("a.jsonl"), "lines")
    assert read_record(row) == {}
    (row,) = open_rows(put(tmp_path / "b.json", "[[1]]"), "array")
    with pytest.raises(DataError, match=r"b\.json: record 1: expected a JSON object, got \[1\]"):
        read_record(row)


@pytest.mark.parametrize(("name", "hint"), [("some/pairs", "; --format hub loads a data set"), ("a.json", "$")])
def test_a_file_that_is_not_there(store: Store, name: str, hint: str) -> None:
    with pytest.raises(DataError, match=f"^{name}: no such file{hint}"):
        import_file(Path(name), None, store)


def test_what_a_table_holds_is_json() -> None:
    class Date:
        def __str__(self) -> str:
            return "2026-01-01"

    assert plain({"a": float("nan"), "b": [Date(), 1, True], "c": None}) == {
        "a": None,
        "b": ["2026-01-01", 1, True],
        "c": None,
    }


def test_columns_change_places() -> None:
    where = Place(Path("a.jsonl"), 1)
    record = {"chosen": "bad", "rejected": "good", "q": "p", "prompt": "x"}
    columns = {"chosen": "rejected", "rejected": "chosen", "prompt": "q"}
    assert rename_columns(record, columns, where) == ({"chosen": "good", "rejected": "bad", "prompt": "p"}, ("prompt",))
