"""JSON from elsewhere: a number that no float holds, or an object too deep to walk through, is one line."""

import json

import pytest

from likelier.errors import DataError
from likelier.files.json_text import MAX_DEPTH, list_fields, parse_json


@pytest.mark.parametrize(
    "number", ["1e999", "-1e400", "888E050011", "1" + 400 * "0", "-" + 400 * "7", 4500 * "7"], ids=lambda text: text[:9]
)
def test_a_number_that_no_float_holds_is_refused(number):
    with pytest.raises(DataError, match=r"f:3: the number .* is too large for a float; write a smaller one or null$"):
        parse_json(f'{{"a": [{number}]}}', "f:3")


def test_numbers_that_floats_hold_are_read():
    assert parse_json("[1.5, -2, 1e308, 1e-999]", "f:1") == [1.5, -2, 1e308, 0.0]
    assert parse_json("1" + 307 * "0", "f:1") == 10**307


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_refused(token):
    with pytest.raises(DataError, match=f"f:1: {token} is not JSON"):
        parse_json(token, "f:1")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 970, 100_000])
def test_objects_nested_too_deep_are_refused(depth):
    with pytest.raises(DataError, match="f:1: JSON nested too deep"):
        parse_json(depth * '{"a":' + "1" + depth * "}", "f:1")


def test_nesting_is_counted_and_not_brackets():
    assert parse_json(MAX_DEPTH * "[" + MAX_DEPTH * "]", "f:1")
    assert len(parse_json(json.dumps([[]] * 500), "f:1")) == 500


def test_names_of_fields_fit_a_line():
    assert list_fields({}) == "nothing"
    assert list_fields({"b": 1, "a": 1}) == "a, b"
    assert list_fields({f"{number:05}": 1 for number in range(60_000)}).endswith("00011 and 59988 more")
