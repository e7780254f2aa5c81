"""OpenAI's preference fine-tuning."""

from pathlib import Path

import pytest

from data_files import assistant, lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

RECORD = {
    "input": {"messages": [user("Hi")], "tools": [{"name": "search"}], "parallel_tool_calls": True},
    "preferred_output": [assistant("Hello.")],
    "non_preferred_output": [assistant("Go.")],
}


def test_tools_and_their_setting_are_kept(store: Store, tmp_path: Path) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", RECORD | {"split": "x"}), "openai", store)
    assert counts.passed_over == ("split",)
    (judged,) = store.judged()
    assert judged.prompt.extra == {"tools": [{"name": "search"}]}
    export_file(store, "openai", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [RECORD]


def test_parts_of_text_are_one_text(store: Store, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there."}]
    import_file(
        write(tmp_path / "a.jsonl", RECORD | {"preferred_output": [{"role": "assistant", "content": parts}]}),
        "openai",
        store,
    )
    assert "Hello there." in {response.text for response in store.responses()}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"input": "Hi"}, "`input` must be an object with messages, got 'Hi'"),
        ({"input": {}}, "no field `messages`"),
        (
            {"preferred_output": [user("a")]},
            "`preferred_output` must hold one assistant turn after the prompt, got user",
        ),
        ({"preferred_output": RECORD["non_preferred_output"]}, "are the same"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", RECORD | record), "openai", store)


def test_a_plain_prompt_is_a_users_turn(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", {"prompt": "Hi", "chosen": "a", "rejected": "b"}), "trl", store)
    export_file(store, "openai", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl")[0]["input"] == {"messages": [user("Hi")]}
