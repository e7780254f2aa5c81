"""Formats by the fields of a record."""

import json
from pathlib import Path

import pytest

from likelier.feedback.formats.recognise import EXAMPLES, TYPICAL, explain_unknown, recognise


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "csv"])
def test_each_example_is_of_its_format(name: str) -> None:
    record = json.loads(EXAMPLES[name])
    assert recognise(record[0] if isinstance(record, list) else record) == name
    assert len(EXAMPLES[name].splitlines()) <= 3
    assert TYPICAL.keys() <= EXAMPLES.keys()


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "trl"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "anthropic"),
        ({"prompt": "p", "answer": "4"}, "trl-prompts"),
        ({"record": "prompt", "prompt": "p"}, "likelier"),
        ({"prompt": "p", "response": "x"}, None),
        ({"prompt": "p", "response 1": "x", "response 2": "y", "preference": 1}, None),
        ({"text": "p"}, None),
    ],
)
def test_records_that_are_near_each_other(record: dict, name: str | None) -> None:
    assert recognise(record) == name


@pytest.mark.parametrize(
    ("container", "record", "nearest"),
    [
        ("array", {"conversations": []}, "llama-factory"),
        ("lines", {"input": {}, "output": {}}, "openai"),
        ("lines", {"text": "x"}, "trl"),
        ("lines", {"prompt": "p", "response 1": "a", "response 2": "b", "label": 1}, "likelier"),
        ("csv", {"q": "x"}, "csv"),
        ("text", "name,age\n", "csv"),
        ("text", "Once upon a time", "trl"),
        ("text", "PK\x03\x04...", "csv"),
    ],
)
def test_the_nearest_format(container: str, record: object, nearest: str) -> None:
    error = explain_unknown(Path("a"), container, record)
    assert f"the nearest is {nearest}," in str(error)
    assert error.example == EXAMPLES[nearest]
