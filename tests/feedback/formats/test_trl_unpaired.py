"""Completions with a thumb, and pairs as two of them."""

from pathlib import Path

import pytest

from data_files import assistant, lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

UP = {"prompt": "Hi", "completion": "Hello.", "label": True}


def test_a_label_is_a_thumb(store: Store, tmp_path: Path) -> None:
    down = {"prompt": [user("Hi")], "completion": [assistant("Go.")], "label": 0, "source": "x"}
    counts = import_file(write(tmp_path / "a.jsonl", UP, down), "trl-unpaired", store)
    assert (counts.stored, counts.judgements, counts.passed_over) == (2, 0, ("source",))
    rated = {each.response.text: (each.rating.kind, each.rating.value) for each in store.rated_by_content()}
    assert rated == {"Hello.": ("thumbs", 1.0), "Go.": ("thumbs", 0.0)}


def test_a_judgement_is_two_lines(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}), "trl", store)
    export_file(store, "trl-unpaired", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [UP, UP | {"completion": "Go.", "label": False}]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"label": "good"}, "`label` must be true or false, got 'good'"),
        ({"label": 0.5}, "`label` must be true or false, got 0.5"),
        ({"completion": [user("x")]}, "`completion` must hold one assistant turn"),
        ({"completion": 3}, "`completion` must be a text, got 3"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", UP | record), "trl-unpaired", store)
