"""YAML from elsewhere: what its tag or a float cannot hold is one line with its place, and many keys take no time."""

import pytest

from likelier.config.yaml_file import parse_yaml
from likelier.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e999", "`1e999` is too large for a number"),
        ("-1.0e+400", "`-1.0e+400` is too large for a number"),
        ("1" + 400 * "0", "is too large for a number"),
        (5000 * "7", "is too large for a number"),
        ('!!int ""', "`` is no int"),
        ("!!bool maybe", "`maybe` is no bool"),
        ("!!float x", "`x` is no float"),
        ("!!timestamp x", "`x` is no timestamp"),
        ("2026-02-31", "`2026-02-31` is no timestamp"),
    ],
    ids=lambda text: text[:12],
)
def test_a_value_that_nothing_holds_is_named_with_its_line(value, message):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(f"a: 1\nb: {value}\n", "f.yaml")
    assert str(caught.value).startswith("f.yaml:2: not YAML: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 120


def test_infinity_by_name_is_a_number():
    assert parse_yaml("a: .inf\nb: 3e-4\nc: !!bool yes", "f.yaml") == {"a": float("inf"), "b": 3e-4, "c": True}


def test_many_keys_take_no_time_and_a_doubled_one_is_found():
    """Each key was counted among all: 60,000 took hours."""
    text = "".join(f"key{number}: 1\n" for number in range(3000))
    assert len(parse_yaml(text, "f.yaml")) == 3000
    with pytest.raises(ConfigError, match="key `key7` is given twice"):
        parse_yaml(f"{text}key7: 2\n", "f.yaml")
