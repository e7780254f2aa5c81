"""Words in several scripts, worked out by hand."""

import re

import pytest

from likelier.text.words import is_unspaced, is_word, split_words

ENGLISH = [
    "The cat's 3rd nap -- isn't it 'long'?  Yes: 2.5 hours!",
    "snake_case, e-mail@example.org; rock 'n' roll\n\n\tO'Neill's \"quote\" (x86_64) don''t",
    "Caf\u00e9 na\u00efve \u2018curly\u2019 don\u2019t \u2014 \u20ac5 \u00bd \U0001f600",
    "",
    " \n ",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_split_as_by_the_usual_expression(text):
    assert split_words(text) == re.findall(r"\w+(?:'\w+)?|[^\w\s]", text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("I don't know, ok.", ["I", "don't", "know", ",", "ok", "."]),
        ("我爱猫。", ["我", "爱", "猫", "。"]),
        ("GPT4很好", ["GPT4", "很", "好"]),
        ("猫が好きです。", ["猫", "が", "好", "き", "で", "す", "。"]),
        ("か\u3099くせい", ["か\u3099", "く", "せ", "い"]),  # a voicing mark of its own, as macOS writes it
        ("ラーメン", ["ラ", "ー", "メ", "ン"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("เสื้อสีแดง", ["เ", "สื้", "อ", "สี", "แ", "ด", "ง"]),
        ("ສະບາຍ", ["ສ", "ະ", "ບ", "າ", "ຍ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("दिन का अर्थ", ["दिन", "का", "अर्थ"]),
        ("राम की, राम को।", ["राम", "की", ",", "राम", "को", "।"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # été with accents of their own
        ("l'e\u0301te\u0301", ["l'e\u0301te\u0301"]),
        ("in\u00adfor\u200bmation \ufeffhere", ["information", "here"]),
        ("\u2764\ufe0f ok", ["\u2764\ufe0f", "ok"]),
    ],
)
def test_split_by_hand(text, parts):
    assert split_words(text) == parts


def test_kinds_of_parts():
    parts = ["cat", "don't", "_", "5", "दिन", "สื้", "猫", ",", "'", "。", "\U0001f600"]
    assert [is_word(part) for part in parts] == [True] * 7 + [False] * 4
    assert [is_unspaced(part) for part in parts] == [False] * 5 + [True] * 2 + [False] * 4
