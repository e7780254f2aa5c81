"""Repetition in numbers worked out by hand."""

import pytest

from likelier.text.variety import distinct_n, variety


def test_distinct_n_by_hand():
    # words: a b a b | a b: unigrams {a, b} of 6; bigrams ab ba ab | ab: {ab, ba} of 4; trigrams aba bab: 2 of 2
    texts = ["A b a b", "a b"]
    assert [distinct_n(texts, n) for n in (1, 2, 3)] == [pytest.approx(1 / 3), 0.5, 1.0]
    assert distinct_n(["", "a"], 2) == 0.0
    assert distinct_n(["Don't stop."], 1) == 1.0


def test_repetition_lowers_distinct_2():
    assert distinct_n(["Anna and Anna and Anna and"], 2) == pytest.approx(2 / 5)


def test_variety_is_each_responses_part_in_distinct_2():
    # ab twice, bc and bd once: parts 3/4, 3/4 and 0
    assert variety(["", "", ""], ["a b c", "A b d", ""]) == [0.25, 0.25, -0.5]


def test_what_all_say_earns_nothing():
    same, other = variety(["", "", ""], ["a b", "a b", "c d"])[1:]
    assert same == pytest.approx(0.5 - 2 / 3)
    assert other == pytest.approx(1 - 2 / 3)


def test_scripts_without_blanks_have_words_too():
    # 我 爱 我 爱 猫: pairs 我爱 爱我 我爱 爱猫: 3 of 4
    assert distinct_n(["我爱我爱猫"], 2) == 0.75
    assert variety(["", ""], ["我爱猫", "我爱狗"]) == [0.0, 0.0]  # each: 1/2 and 1
