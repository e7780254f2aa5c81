"""Repetition in numbers worked out by hand."""

import pytest

from likelier.text.variety import distinct_n


def test_distinct_n_by_hand():
    # words: a b a b | a b: unigrams {a, b} of 6; bigrams ab ba ab | ab: {ab, ba} of 4; trigrams aba bab: 2 of 2
    texts = ["A b a b", "a b"]
    assert [distinct_n(texts, n) for n in (1, 2, 3)] == [pytest.approx(1 / 3), 0.5, 1.0]
    assert distinct_n(["", "a"], 2) == 0.0
    assert distinct_n(["Don't stop."], 1) == 1.0


def test_repetition_lowers_distinct_2():
    assert distinct_n(["Anna and Anna and Anna and"], 2) == pytest.approx(2 / 5)
