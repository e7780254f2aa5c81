"""CSV, Parquet and rows of a data set."""

import csv
import sys
import types
from pathlib import Path

import pytest

from data_files import Line, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

HEADER = "prompt,left,right,choice,annotator,left_model,right_model,both_bad,conversation,duration_seconds,created_at\n"
ROWS = HEADER + (
    'Hi,\'=1+1,"Two, or ""2""\nof them",left,ann,one,two,,c1,1.5,2026-01-01T00:00:00+00:00\n'
    "Hi,A,B,tie,,,,true,c1,,\n"
    '"[{""content"": ""Hi"", ""role"": ""user""}]",A,B,right,bo,,,,,,\n'
)


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_a_csv_file_comes_out_as_it_went_in(store: Store, tmp_path: Path) -> None:
    counts = import_file(put(tmp_path / "a.csv", ROWS), None, store)
    assert (counts.format, counts.stored) == ("csv", 3)
    assert {response.text for response in store.responses()} >= {"=1+1", 'Two, or "2"\nof them'}
    assert [user("Hi")] in [prompt.text for prompt in store.prompts()]
    (tie,) = (judgement for judgement in store.judgements() if judgement.choice == "tie")
    assert (tie.both_bad, tie.annotator, tie.duration_seconds) == (True, "", None)
    export_file(store, "csv", tmp_path / "b.csv")
    assert sorted((tmp_path / "b.csv").read_text().splitlines()) == sorted(ROWS.splitlines())
    assert import_file(tmp_path / "b.csv", "csv", store).stored == 0


def test_parquet_holds_the_same(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="no pyarrow")
    import_file(put(tmp_path / "a.csv", ROWS), "csv", store)
    for name in ("b.parquet", "c.parquet"):
        assert export_file(store, "parquet", tmp_path / name).written == 3
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "c.parquet").read_bytes()
    counts = import_file(tmp_path / "b.parquet", None, store)
    assert (counts.format, counts.read, counts.stored) == ("parquet", 3, 0)
    with pytest.raises(DataError, match=r"d\.parquet: not a whole Parquet file"):
        import_file(put(tmp_path / "d.parquet", "PAR1 and no more"), None, store)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "'=1", "\t1", "''=x", "'x", "a=1"])
def test_no_cell_is_a_formula(store: Store, tmp_path: Path, text: str) -> None:
    import_file(write(tmp_path / "a.jsonl", {"prompt": text, "chosen": text, "rejected": "b"}), "trl", store)
    export_file(store, "csv", tmp_path / "b.csv")
    with open(tmp_path / "b.csv", newline="") as file:
        (_, row) = csv.reader(file)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)
    import_file(tmp_path / "b.csv", "csv", store)
    assert {prompt.text for prompt in store.prompts()} == {text}


def test_columns_of_any_name_and_semicolons(store: Store, tmp_path: Path) -> None:
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad", "annotator": "who"}
    file = put(tmp_path / "a.csv", "\ufeffq;good;bad;who;source\nHi;A;B;ann;web\n")
    counts = import_file(file, None, store, columns=columns)
    assert (counts.format, counts.stored, counts.passed_over) == ("csv", 1, ("source",))
    assert store.judgements()[0].annotator == "ann"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "Hi,A,B,first\n", r"a\.csv: row 2: `choice` must be one of left, right, tie, got 'first'"),
        (HEADER + "Hi,A,B,left,,,,,,long,\n", "row 2: `duration_seconds` must be a number from 0 up, got 'long'"),
        (HEADER + "Hi,A,B,left,,,,true,,,\n", "row 2: `both_bad` is true or false, and of a tie; got 'true'"),
        (HEADER + "Hi,A,A,left\n", "row 2: `left` and `right` are the same"),
        ("prompt,chosen,rejected\nHi,A,B,C\n", "row 2 has 4 cells, the header 3"),
        ('prompt,chosen,rejected\nHi,"A,B\n', r"a\.csv:\d+: not CSV"),
        ("prompt,chosen,chosen\n", r"a\.csv:1: two columns of one name"),
        ("q,a\nHi,A\n", "CSV with a, q: no format that is known; the nearest is csv"),
        ("prompt,chosen,rejected\n", "no records"),
    ],
)
def test_a_bad_row(store: Store, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(put(tmp_path / "a.csv", text), None, store)


def test_a_plain_prompt_that_looks_like_messages_is_skipped(store: Store, tmp_path: Path) -> None:
    text = '[{"role": "user", "content": "Hi"}]'
    import_file(write(tmp_path / "a.jsonl", {"prompt": text, "chosen": "a", "rejected": "b"}), "trl", store)
    assert export_file(store, "csv", tmp_path / "b.csv").skipped == 1


def test_a_data_set_of_the_hub(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for `datasets`, which is a large extra; the rows are recognised as those of files are."""
    asked = []

    def load_dataset(name: str, split: str) -> list[Line]:
        asked.append((name, split))
        if name == "no/such":
            raise FileNotFoundError("Couldn't reach 'no/such'\nmore")
        turns = {"chosen": [user("Hi"), {"role": "assistant", "content": "A"}]}
        return [turns | {"rejected": [user("Hi"), {"role": "assistant", "content": "B"}], "score": float("nan")}]

    stand_in = types.SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    assert import_file(Path("some/pairs:test"), "hub", store).format == "hub"
    assert (asked, len(store.judgements())) == ([("some/pairs", "test")], 1)
    with pytest.raises(DataError, match=r"no/such: cannot be loaded from the hub \(Couldn't reach 'no/such'\)"):
        import_file(Path("no/such"), "hub", store)
