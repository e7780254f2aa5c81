"""Answers in responses: SQuAD's normalisation and F1, tagged parts, and numbers that are never taken from a guess."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likelier.reward.answers import (
    find_answer,
    find_number,
    find_tagged_parts,
    is_near,
    normalise_answer,
    parse_number,
    token_f1_score,
)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("an apple, a day", "apple day"),
        ("A.B.C.", "abc"),  # punctuation goes before the articles: "a" of "A.B.C." is none
        ("theatre", "theatre"),
        ("'the' U.S.", "us"),
        ("...", ""),
    ],
)
def test_normalisation_of_squad(text, normalised):
    assert normalise_answer(text) == normalised


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("the big cat", "A big dog!", 0.5),  # 1 of 2 words, both ways
        ("big big cat", "big cat", 0.8),  # 2 of 3, 2 of 2: 2 (2/3) / (5/3)
        ("cat", "dog", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),  # an article is no word
        ("", "cat", 0.0),
        ("cat", "", 0.0),
    ],
)
def test_f1_of_squad(answer, reference, f1):
    assert token_f1_score(answer, reference) == pytest.approx(f1)


def test_tagged_answers():
    assert find_answer(" so <a> 12 </a> done", "a") == "12"
    assert find_answer(" 12 ", None) == "12"
    for response in ("12", "<a>12", "</a>12<a>", "<a>1</a><a>2</a>", "<a><a>1</a>", "<a>1</a></a>"):
        assert find_answer(response, "a") is None


def test_tagged_parts():
    tags = ["think", "answer"]
    assert find_tagged_parts(" <think>7 + 5\n</think>\n<answer>12</answer>\n", tags)
    for response in (
        "<answer>12</answer><think>x</think>",
        "<think>x</think> so <answer>12</answer>",
        "<think></think><answer>12</answer>",
        "<think>x</think><answer>12</answer> or 13",
        "<think>x<answer>12</answer></think>",
        "<think>x</think><answer>12</answer><answer>13</answer>",
        "",
    ):
        assert not find_tagged_parts(response, tags), response


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", "12"),
        ("The answer is 12.", "12"),
        ("7 + 5 = 12", "12"),
        ("7 + 5 = 13, no, wait: 12", "12"),
        ("3 apples and 4 pears make 7 pieces!", "7"),
        ("step 1: 3 + 4\n7", "7"),
        ("it is -5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("$1,234.50$", "1234.5"),
        ("**1,234,567** euros", "1234567"),
        (r"\boxed{12}", "12"),
        ("`12`", "12"),
        ("12 km", "12"),
        ("x = 3/4", "3/4"),
        ("1.2e3", "1200"),
        ("#### 18", "18"),
        ("007", "7"),
        ("<calc>809+200</calc>1009", "1009"),  # behind a tool's call; its mark is no "greater than"
        ("it is <b>12</b>", "12"),
    ],
)
def test_numbers_that_are_an_answer(text, number):
    assert find_number(text) == Fraction(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "twelve",
        "12 or 13",
        "12 or maybe 13",
        "12, 13",
        "12 13",
        "12-13",
        "12 - 13",
        "12 to 13",
        "12/13/14",
        "1234,56",
        "7 + 5",
        "7 x 5",
        "7 * 5",
        "20% of 50",
        "10 - 5",
        "7 + 5 =",
        "12 * 2 =",
        "12?",
        "12 %",
        "not 12",
        "it is never the 12",
        "> 12",
        "~12",
        "- 12",
        "-$5",
        "1.2.3",
        "12 (as of v1.2.3)",
        "x12",
        "12th",
        "3/0",
        "9" * 5000,
        "(7, 12)",
        r"\frac{3}{4}",
    ],
)
def test_what_may_be_meant_otherwise_is_no_answer(text):
    assert find_number(text) is None


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "= {}", "so {}.", "**{}**", "{:,}", "1 + 2 = {:,}"]))
def test_any_integer_is_read_as_it_is(number, form):
    assert find_number(form.format(number)) == number


@given(st.text("12.,-+/=*_$`<>ab \n%?", max_size=40))
def test_no_text_breaks_it(text):
    find_number(text)
    find_tagged_parts(text, ["a", "b"])


def test_references_and_tolerance():
    assert parse_number(0.1) == Fraction(1, 10)
    assert parse_number(1e16) == 10**16
    assert parse_number("He has 3 + 4 = 7 of them.\n#### 7") == 7
    for value in (True, None, "seven", [7], float("nan")):
        with pytest.raises(ValueError, match="must be a number"):
            parse_number(value)
    assert is_near(Fraction(1), Fraction(1), 0.0)
    assert not is_near(Fraction("1.01"), Fraction(1), 0.009)
    assert is_near(Fraction(101), Fraction(100), 0.011)
    assert is_near(Fraction("0.01"), Fraction(0), 0.01)  # below 1 it is absolute
