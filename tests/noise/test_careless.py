"""Careless shares from the probability of each answer, where the right posterior can be worked out."""

import numpy as np
import pytest

from likelier.noise.careless import HONEST_PANELS, SHAPE_WEIGHTS, SHAPES, SHARES, describe_posterior, estimate_shares


def estimate(by_reading: list[float], people: list[int], count: int) -> list[float]:
    answers = np.array(by_reading)
    return estimate_shares(np.array(people), answers, np.full(len(answers), 0.5), count).mean.tolist()


def test_one_answer_by_hand() -> None:
    """The likelihood of one person is linear in the part of careless people, whose mean is 1/3 where there are any."""
    likelihood = (1 - SHARES) * 0.9 + SHARES * 0.5
    powers = SHARES[1:] ** SHAPES[:, None]
    prior = SHAPE_WEIGHTS @ (powers / powers.sum(axis=1, keepdims=True))
    careless = (1 - HONEST_PANELS) / 3
    weights = np.concatenate([[1 - careless], careless * prior]) * likelihood
    assert estimate([0.9], [0], 1) == pytest.approx([weights @ SHARES / weights.sum()], abs=1e-3)


def test_two_people_by_hand() -> None:
    """Both are never right, which careless people alone are: of q in (0, 1) the panel has one with E[q^2] = 1/6."""
    posterior = estimate_shares(np.array([0, 1]), np.zeros(2), np.ones(2), 2)
    powers = SHARES[1:] ** SHAPES[:, None]
    priors = powers / powers.sum(axis=1, keepdims=True)
    # Of one answer, somebody with the share s gives it with the probability s.
    evidence = SHAPE_WEIGHTS * (priors @ SHARES[1:]) ** 2
    share = (priors @ SHARES[1:] ** 2) / (priors @ SHARES[1:])
    assert posterior.mean == pytest.approx(np.full(2, evidence @ share / evidence.sum()), abs=1e-5)


def test_ends_of_an_interval() -> None:
    """0.03 at 0.2, 0.95 at 0.5, 0.02 at 1: a fortieth is below 0.2 or at it, and above 0.5 is less than one."""
    probabilities = np.zeros((2, 11))
    probabilities[0, [2, 5, 10]] = 0.03, 0.95, 0.02
    probabilities[1, [0, 10]] = 0.5, 0.5
    found = describe_posterior(probabilities)
    assert found.mean == pytest.approx([0.501, 0.5])
    assert found.low == pytest.approx([0.2, 0.0])
    assert found.high == pytest.approx([0.5, 1.0])


def test_one_of_many_who_is_off_by_chance_is_believed_and_several_are_not() -> None:
    """Ten people agree in 13 of 20; whom 9 of 20 bear out is off by two standard errors. Four such are no chance."""
    reader, off = [0.65] * 13 + [0.35] * 7, [0.65] * 9 + [0.35] * 11
    people = [number for number in range(10) for _ in range(40)]
    alone, four = (estimate((off * 2) * few + (reader * 2) * (10 - few), people, 10) for few in (1, 4))
    assert alone[0] < 0.3
    assert min(four[:4]) > 2 * alone[0]


def test_a_coin_among_readers() -> None:
    """Nine people answer as a reader does, 9 of 10 times what was to be expected; the tenth half of the time."""
    reader, coin = ([0.9] * 9 + [0.1]) * 5, [0.9, 0.1] * 25
    shares = estimate(reader * 9 + coin, [number for number in range(10) for _ in range(50)], 10)
    assert max(shares[:9]) < 0.02
    assert shares[9] > 0.9


def test_without_information_people_are_believed() -> None:
    """Answers that reading explains no better than guessing say nothing, and neither does nobody's answer."""
    assert max(estimate([0.5] * 50, [0] * 50, 2)) < 0.12


def test_an_answer_that_no_reader_gives() -> None:
    assert estimate([0.0] * 30 + [1.0] * 30, [0] * 60, 1)[0] > 0.8
