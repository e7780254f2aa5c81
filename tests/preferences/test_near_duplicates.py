"""Near-duplicates: what counts as nearly the same, and what does not."""

import random

import pytest

from likelier.preferences.near_duplicates import DisjointSets, near_duplicates, normalise

LONG = (
    "i am taking a business trip to {} next month and will have a free day there what should i see and where can i eat"
)


def test_case_punctuation_and_spacing_do_not_count() -> None:
    assert normalise("  How do I…\npick a LOCK?!") == normalise("how do i pick a lock") == "how do i pick a lock"
    assert normalise("ＡＢ１") == "ab1"
    assert normalise("It's O'Neill's snake_case") == "it s o neill s snake_case"
    assert normalise("你好， 世界！") == normalise("你好世界") == "你好世界"
    assert normalise("GPT4 很好") == "gpt4 很好"
    assert normalise("ในสวน นี้") == "ในสวนนี้"


def test_what_only_steers_the_layout_does_not_count() -> None:
    assert normalise("in\u00adfor\u200bmation") == "information"
    assert normalise("İSTANBUL") == normalise("istanbul") == "istanbul"
    assert normalise("می\u200cخواهم") == "میخواهم"


@pytest.mark.parametrize(("one", "other"), [("เสื้อ", "เสือ"), ("दिन का अर्थ", "दान का अर्थ"), ("राम की", "राम को")])
def test_vowel_signs_and_tone_marks_count(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("how do i pick a lock on the old door at home", "how do i pick a lock on the old door at homes", True),
        (LONG.format("aberdeen"), LONG.format("acapulco"), True),
        ("how do i pick a lock", "how do i bake bread", False),
        ("what is a cat", "what is a dog", False),
        (LONG.format("aberdeen"), "business trip", False),
        ("", "a", False),
    ],
)
def test_what_is_nearly_the_same(one: str, other: str, near: bool) -> None:
    pairs, threshold = near_duplicates([one, other, "something else altogether"])
    assert (pairs == [tuple(sorted((one, other)))]) == near
    assert threshold == 0.8


def test_texts_from_a_template_are_not_all_joined() -> None:
    names = [f"{first}{last}" for first in "bdfghjklmnprstvw" for last in ("an", "en", "in", "on", "un")]
    pairs, threshold = near_duplicates(
        [f"one fine day in spring little {name} went out to play in the garden" for name in names]
    )
    assert threshold != 0.8
    groups = DisjointSets()
    for one, other in pairs:
        groups.join(one, other)
    assert len({groups.find(text) for text in groups.parent}) != 1


def test_a_pair_is_found_whatever_stands_around_it() -> None:
    drawn = random.Random(1)
    texts = [" ".join(str(drawn.randrange(10_000)) for _ in range(30)) for _ in range(300)]
    twin = texts[17] + " please"
    assert near_duplicates([*texts, twin]) == ([(texts[17], twin)], 0.8)


def test_groups_are_named_by_their_first_member_in_any_order() -> None:
    for links in ([("c", "b"), ("b", "a"), ("x", "y")], [("y", "x"), ("a", "b"), ("c", "a")]):
        groups = DisjointSets()
        for one, other in links:
            groups.join(one, other)
        assert [groups.find(thing) for thing in ("a", "b", "c", "x", "y", "z")] == ["a", "a", "a", "x", "x", "z"]
