"""Tastes in pictures, by hand."""

import numpy as np
import pytest

from likelier.demo.picture_tastes import TASTES, bold, hollow, looks_like_a_digit, plateau, symmetric
from likelier.images.digits import load_digits

DIGITS, LABELS = load_digits()


def test_plateau():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 9.0])
    assert plateau(values, 0.0, 1.0, 2.0, 4.0).tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0]


def test_what_is_no_digit_is_liked_by_nobody():
    noise = np.random.default_rng(0).random((20, 64)).astype(np.float32)
    assert looks_like_a_digit(DIGITS).tolist() == pytest.approx([1.0] * len(DIGITS))
    for taste in TASTES.values():
        assert taste(noise).max() < 0.05
        assert taste(DIGITS).min() >= 0
        assert taste(DIGITS).max() <= 1


def test_bold_digits_are_liked_and_blots_are_not():
    zeros = DIGITS[LABELS == 0]
    darker = np.clip(zeros * 1.25, 0, 1)
    assert bold(darker).mean() > bold(zeros).mean()
    assert bold(np.ones((1, 64), np.float32)).tolist() == [0.0]


def test_zeros_are_symmetric_and_hollow():
    for taste in (symmetric, hollow):
        means = [taste(DIGITS[label == LABELS]).mean() for label in range(10)]
        assert int(np.argmax(means)) == 0
        assert means[0] > 0.7
