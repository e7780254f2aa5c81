"""Routes that take answers say what is wrong with one as all others do."""

import json

import pytest
from fastapi.exceptions import RequestValidationError

from likelier.web.answer_route import parse_body
from likelier.web.answers import Answer, Skipped


def test_an_answer_is_read_with_its_defaults():
    ids = {"comparison_id": "c", "left": "l", "right": "r", "key": "12345678"}
    body = b'{"choice": "tie", "duration_seconds": 2, ' + json.dumps(ids).encode()[1:]
    assert parse_body(Answer, body) == Answer(choice="tie", duration_seconds=2.0, **ids)


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        (b"{", (), "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b"", (), "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"[]", (), "Input should be an object"),
        (b'{"question_id": 3}', ("question_id",), "Input should be a valid string"),
        (b'{"question_id": "q", "extra": 1}', ("extra",), "Extra inputs are not permitted"),
        (b"{}", (), "Value error, give question_id"),
        (b'{"question_id": "\\ud800"}', (), "Invalid JSON: unexpected end of hex escape"),
    ],
)
def test_what_is_wrong_has_a_place_and_a_text(body, place, message):
    with pytest.raises(RequestValidationError) as caught:
        parse_body(Skipped, body)
    first = caught.value.errors()[0]
    assert first["loc"] == ("body", *place)
    assert first["msg"].startswith(message)
