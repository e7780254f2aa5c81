"""Prompts to be answered."""

from pathlib import Path

import pytest

from data_files import lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store


def test_columns_travel_with_the_prompt(store: Store, tmp_path: Path) -> None:
    records = [{"prompt": "2 + 2", "answer": "4", "conversation": "c"}, {"prompt": [user("Hi")]}]
    assert import_file(write(tmp_path / "a.jsonl", *records), "trl-prompts", store).stored == 2
    assert {"answer": "4"} in [prompt.extra for prompt in store.prompts()]
    assert export_file(store, "trl-prompts", tmp_path / "b.jsonl").written == 2
    assert sorted(lines(tmp_path / "b.jsonl"), key=len) == sorted(records, key=len)


def test_a_prompt_that_is_none(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`prompt` must be a text or a list of messages, got 3"):
        import_file(write(tmp_path / "a.jsonl", {"prompt": 3}), "trl-prompts", store)
