"""Distance and thresholds: by hand, against scikit-learn, and on responses that are and are not like the training's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from likelier.errors import DataError
from likelier.files import read_json, write_json
from likelier.reward.out_of_distribution import (
    Distribution,
    find_threshold,
    fit_distribution,
    load_distribution,
    shrink_covariance,
    whiten,
)


def test_the_distance_by_hand():
    # covariance diag(4, 1/4): (2, 1) lies sqrt(4 / 4 + 1 / (1/4)) = sqrt 5 from the mean
    whitener = torch.diag(torch.tensor([0.5, 2.0], dtype=torch.float64))
    found = Distribution(torch.tensor([1.0, 0.0], dtype=torch.float64), whitener, 2.0, 0.5)
    assert found.measure(torch.tensor([[3.0, 1.0], [1.0, 0.0]])).tolist() == pytest.approx([math.sqrt(5), 0.0])
    signs = found.find_signs(torch.tensor([[3.0, 1.0], [1.0, 0.0]]), torch.tensor([0.4, 0.6]))
    assert signs["high_distance"].tolist() == [1.0, 0.0]
    assert signs["high_disagreement"].tolist() == [0.0, 1.0]
    assert set(found.find_signs(torch.zeros(1, 2), None)) == {"distance", "high_distance"}


def test_the_threshold_is_the_order_statistic_of_conformal_prediction():
    assert find_threshold(np.arange(1, 100), 0.05) == 95.0  # ceil(100 * 0.95)
    assert find_threshold(np.arange(1, 21), 0.05) == 20.0
    assert find_threshold(np.arange(1, 19), 0.05) is None


@pytest.mark.parametrize(("rows", "size"), [(500, 5), (40, 60)])
def test_the_covariance_is_scikit_learns(rows: int, size: int):
    random = np.random.default_rng(0)
    drawn = random.normal(size=(rows, size)) @ random.normal(size=(size, size)) + 3
    assert shrink_covariance(drawn) == pytest.approx(LedoitWolf().fit(drawn).covariance_, rel=1e-6, abs=1e-6)
    assert np.array_equal(shrink_covariance(np.ones((5, 2))), np.eye(2))


def test_one_in_twenty_of_the_same_kind_is_beyond_it_and_most_of_another_kind_are():
    random = np.random.default_rng(1)
    mix = random.normal(size=(8, 8))
    rates, powers = [], []
    for _ in range(20):
        training, held_out, fresh = (random.normal(size=(count, 8)) @ mix for count in (400, 400, 2000))
        found = fit_distribution(training, held_out, held_out[:, 0])
        assert found is not None
        signs = found.find_signs(torch.from_numpy(fresh), torch.from_numpy(fresh[:, 0]))
        rates.append([float(signs[name].mean()) for name in ("high_distance", "high_disagreement")])
        powers.append(float(found.find_signs(torch.from_numpy(2.5 * fresh), None)["high_distance"].mean()))
    assert np.mean(rates, axis=0) == pytest.approx([0.05, 0.05], abs=0.01)
    assert np.mean(powers) > 0.8


def test_it_comes_back_from_its_files_and_damage_is_named(tmp_path: Path):
    random = np.random.default_rng(2)
    found = fit_distribution(random.normal(size=(50, 3)), random.normal(size=(40, 3)))
    assert found is not None
    assert load_distribution(tmp_path) is None
    found.save(tmp_path)
    again = load_distribution(tmp_path)
    assert again is not None
    assert again.distance == found.distance
    assert again.disagreement is None
    features = torch.randn(4, 3)
    assert torch.equal(again.measure(features), found.measure(features))
    write_json(tmp_path / "distribution.json", read_json(tmp_path / "distribution.json") | {"distance": "far"})
    with pytest.raises(DataError, match="distance and disagreement are"):
        load_distribution(tmp_path)
    assert fit_distribution(np.full((3, 2), np.nan), np.zeros((3, 2))) is None


def test_hidden_states_in_a_few_dimensions_of_many_have_a_distance():
    """Two directions out of 64, seen by 8 responses: a Cholesky factor of the inverse does not exist in doubles."""
    random = np.random.default_rng(0)
    for scale in (1.0, 1e-9, 1e6):
        training = scale * np.outer(random.normal(size=8), random.normal(size=64)) + 100 * scale
        found = fit_distribution(training, training)
        assert found is not None
        distances = found.measure(torch.from_numpy(training))
        assert bool(distances.isfinite().all())
        assert float(distances.max()) < 10
    covariance = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert whiten(covariance) @ whiten(covariance).T == pytest.approx(np.linalg.inv(covariance))
