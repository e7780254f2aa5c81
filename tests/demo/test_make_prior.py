"""The prior of the demo's guesser, and the script that made it."""

import sys

import numpy as np
import pytest

from likelier.demo import make_prior
from likelier.demo.make_prior import describe_pairs, draw_liking, find_directions, main
from likelier.demo.people import TastePrior


def test_directions_by_hand():
    rows = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    basis = find_directions(rows, 1)
    # the first axis; rows there are 3, -3, 0, 0, of mean square 4.5
    assert np.abs(basis[:, 0]) == pytest.approx([1 / np.sqrt(4.5), 0])


def test_new_people_are_foretold_before_they_answer():
    prior, (differences, gaps) = TastePrior.load(), describe_pairs(60, seed=1)
    generator = np.random.default_rng(3)
    foretold = differences @ prior.basis @ prior.weights.mean
    liked = [draw_liking(gaps, range(3), generator) for _ in range(30)]
    assert np.mean([(foretold * each > 0).mean() for each in liked]) > 0.57


def test_script(tmp_path, monkeypatch):
    for name, value in {"NUM_PAIRS": 12, "NUM_PEOPLE": 3, "NUM_ANSWERS": 6, "NUM_DIRECTIONS": 4, "LENGTH": 20}.items():
        monkeypatch.setattr(make_prior, name, value)
    monkeypatch.setattr(sys, "argv", ["make_prior", str(tmp_path / "prior.npz")])
    main()
    prior = TastePrior.load(tmp_path / "prior.npz")
    assert prior.basis.shape == (97, 4)
    assert prior.weights.covariance.shape == (4, 4)
