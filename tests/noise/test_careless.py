"""Careless shares from the probability of each answer, where the right posterior can be worked out."""

import numpy as np
import pytest

from likelier.noise.careless import PSEUDO_PEOPLE, SHARES, estimate_shares


def estimate(by_reading: list[float], people: list[int], count: int) -> list[float]:
    answers = np.array(by_reading)
    return estimate_shares(np.array(people), answers, np.full(len(answers), 0.5), count).tolist()


def test_one_answer_by_hand() -> None:
    """With one person the weights are a fixed point of EM: w = (posterior + prior) / (1 + 5.5)."""
    likelihood = (1 - SHARES) * 0.9 + SHARES * 0.5
    weights = PSEUDO_PEOPLE / PSEUDO_PEOPLE.sum()
    for _ in range(1000):
        posterior = weights * likelihood / (weights @ likelihood)
        weights = (posterior + PSEUDO_PEOPLE) / (1 + PSEUDO_PEOPLE.sum())
    assert estimate([0.9], [0], 1) == pytest.approx([posterior @ SHARES], abs=1e-5)
    assert 0 < posterior @ SHARES < 0.05


def test_a_coin_among_readers() -> None:
    """Nine people answer as a reader does, 9 of 10 times what was to be expected; the tenth half of the time."""
    reader, coin = ([0.9] * 9 + [0.1]) * 5, [0.9, 0.1] * 25
    shares = estimate(reader * 9 + coin, [number for number in range(10) for _ in range(50)], 10)
    assert max(shares[:9]) < 0.02
    assert shares[9] > 0.9


def test_without_information_people_are_believed() -> None:
    """Answers that reading explains no better than guessing say nothing, and neither does nobody's answer."""
    assert max(estimate([0.5] * 50, [0] * 50, 2)) < 0.07


def test_an_answer_that_no_reader_gives() -> None:
    assert estimate([0.0] * 30 + [1.0] * 30, [0] * 60, 1)[0] > 0.8
