"""Rows of several scored completions."""

from pathlib import Path

import pytest

from data_files import Line, user, write
from likelier.errors import ConfigError, DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

ROW = {
    "source": "sharegpt",
    "instruction": "Hi",
    "models": ["one", "two", "three"],
    "completions": [
        {"model": "one", "response": "Hello.", "overall_score": 10, "fine-grained_score": 2.5, "critique": "x"},
        {"model": "two", "response": "Hi.", "overall_score": 7, "fine-grained_score": 4.75},
        {
            "model": "three",
            "response": "Go.",
            "annotations": {"truthfulness": {"Rating": "2"}, "honesty": {"Rating": "3"}},
        },
    ],
}


def test_each_two_completions_are_compared(store: Store, tmp_path: Path) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", ROW), "ultrafeedback", store)
    assert (counts.read, counts.stored, counts.passed_over) == (1, 3, ("source",))
    choices = {(each.left.model, each.right.model): each.judgement.choice for each in store.judged()}
    assert choices == {("one", "two"): "right", ("one", "three"): "tie", ("two", "three"): "left"}
    assert store.prompts()[0].text == [user("Hi")]
    assert [4.75, 2.5] in [judgement.extra["scores"] for judgement in store.judgements()]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "responses": ["Hello.", "Go."], "scores": [5, 1], "models": ["one", "two"]},
        {"prompt": "Hi", "answers": [{"answer": "Hello.", "model": "one", "rank": 1}, {"answer": "Go.", "rank": 2}]},
    ],
)
def test_rows_like_it(store: Store, tmp_path: Path, row: Line) -> None:
    assert import_file(write(tmp_path / "a.jsonl", row), None, store).format == "ultrafeedback"
    (judged,) = store.judged()
    assert (judged.left.text, judged.left.model, judged.judgement.choice) == ("Hello.", "one", "left")


@pytest.mark.parametrize(
    ("completions", "message"),
    [
        ([{"response": "a", "score": 1}], "`completions` must be a list of two completions or more"),
        ([{"response": "a", "score": 1}, {"response": "b"}], "each of `completions` needs a response and a score"),
        ([{"response": "a", "score": 1}, {"response": "a", "score": 2}], "all completions are the same"),
        ([1, 2], "`completions` must hold objects or texts, got 1"),
    ],
)
def test_a_bad_row(store: Store, tmp_path: Path, completions: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", ROW | {"completions": completions}), "ultrafeedback", store)


def test_it_is_only_read(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--format ultrafeedback: is only read; choose one of trl, "):
        export_file(store, "ultrafeedback", tmp_path / "b.jsonl")
