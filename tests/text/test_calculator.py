"""The calculator that models call: exact, and harmless whatever a model writes."""

import pytest

from likelier.text.calculator import calc


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12*7", "84"),
        (" (12 + 3) × 7 ", "105"),
        ("7-10", "-3"),
        ("−3 + +5", "2"),
        ("1/4", "0.25"),
        ("1/3", "0.3333333333"),
        ("0.1+0.2", "0.3"),  # exactly, unlike floats
        ("1,234 * 2", "2468"),
        ("7//2 + 7%4", "6"),
        ("2**10", "1024"),
        ("2**-1", "0.5"),
        ("10**30 + 1", "1" + "0" * 29 + "1"),
    ],
)
def test_values(text, value):
    assert calc(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "1/0", "7%0", "0**-1", "1+", "x", "1 if 1 else 2", "True", "'a'*9", "[1]", "1<2", "__import__('os')",
        "2**65", "9**9**9", "2**0.5", "10**100", "(" * 150 + "1" + ")" * 150, "1+" * 150 + "1", "1e999",
        "1e400-1e400", "1j", "0x", "1\n2", "\0",
    ],
)  # fmt: skip
def test_anything_else_is_an_error(text):
    assert calc(text) == "error"
