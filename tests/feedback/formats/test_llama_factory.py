"""LLaMA-Factory's preference data sets in their three styles."""

import json
from pathlib import Path

import pytest

from data_files import assistant, lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

SHAREGPT = {
    "conversations": [{"from": "human", "value": "Hi"}],
    "chosen": {"from": "gpt", "value": "Hello."},
    "rejected": {"from": "gpt", "value": "Go."},
}


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        (SHAREGPT, [user("Hi")]),
        (SHAREGPT | {"system": "Be kind."}, [{"role": "system", "content": "Be kind."}, user("Hi")]),
        ({"instruction": "Hi", "chosen": "Hello.", "rejected": "Go."}, [user("Hi")]),
        ({"instruction": "Add", "input": "1 2", "chosen": "3", "rejected": "4"}, [user("Add\n1 2")]),
        (
            {"instruction": "And?", "input": None, "history": [["Hi", "Yes?"]], "chosen": "a", "rejected": "b"},
            [user("Hi"), assistant("Yes?"), user("And?")],
        ),
        (
            {
                "chosen_messages": [user("Hi"), assistant("a") | {"loss_weight": 1.0}],
                "rejected_messages": [user("Hi"), assistant("b")],
            },
            [user("Hi")],
        ),
        ({"messages": [user("Hi")], "chosen": assistant("a"), "rejected": assistant("b")}, [user("Hi")]),
    ],
)
def test_all_styles(store: Store, tmp_path: Path, record: dict, prompt: list) -> None:
    assert import_file(write(tmp_path / "a.jsonl", record), None, store).format == "llama-factory"
    assert store.prompts()[0].text == prompt


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (SHAREGPT | {"conversations": "Hi"}, "`conversations` must be a list of turns, got 'Hi'"),
        (
            SHAREGPT | {"conversations": [{"from": "observation", "value": "21 C"}]},
            "a turn from 'observation'; turns of",
        ),
        (SHAREGPT | {"chosen": {"from": "human", "value": "x"}}, "`chosen` must hold one assistant turn"),
        ({"instruction": "x", "history": "y", "chosen": "a", "rejected": "b"}, "`history` must be a list of"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", record), "llama-factory", store)


def test_turns_that_llama_factory_drops_are_skipped(store: Store, tmp_path: Path) -> None:
    twice = {"prompt": [user("Hi"), user("Hello?")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    plain = {"prompt": "Hi", "chosen": "a", "rejected": "b"}
    import_file(write(tmp_path / "a.jsonl", twice, plain), "trl", store)
    counts = export_file(store, "llama-factory", tmp_path / "b.jsonl")
    assert (counts.written, counts.skipped) == (1, 1)
    assert lines(tmp_path / "b.jsonl")[0]["conversations"] == [{"from": "human", "value": "Hi"}]


def test_a_json_file_is_an_array(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", SHAREGPT), "llama-factory", store)
    export_file(store, "llama-factory", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == [SHAREGPT]
    assert import_file(tmp_path / "b.json", None, store).stored == 0


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user("Hi"), assistant("Hello.")], "label": True},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "kto_tag": True},
        {"instruction": "Hi", "output": "Hello.", "kto_tag": True},
    ],
)
def test_kto_data_are_thumbs(store: Store, tmp_path: Path, record: dict) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", record), None, store)
    assert (counts.format, counts.passed_over) == ("llama-factory", ())
    (rated,) = store.rated_by_content()
    assert (rated.prompt.text, rated.response.text, rated.rating.value) == ([user("Hi")], "Hello.", 1.0)
    assert export_file(store, "llama-factory", tmp_path / "b.jsonl").skipped == 1
