"""Forecasts of learning curves."""

import numpy as np
import pytest

from likelier.explain.forecast import (
    CurvePoint,
    choose_sizes,
    compute_kernel,
    condition,
    count_overlap,
    forecast_accuracy,
)


def make_points(accuracy: dict[int, float], orders: int = 2) -> list[CurvePoint]:
    largest = max(accuracy)
    points = [
        CurvePoint(size, order, value) for size, value in accuracy.items() if size < largest for order in range(orders)
    ]
    return [*points, CurvePoint(largest, -1, accuracy[largest])]


def test_a_curve_that_rises_in_the_logarithm_goes_on_rising() -> None:
    forecast = forecast_accuracy(make_points({100: 0.60, 200: 0.65, 400: 0.70, 800: 0.75}), 1600)
    low, high = forecast.interval
    assert 0.77 < forecast.mean < 0.81
    assert low < 0.80 < high < low + 0.08


def test_a_flat_curve_gains_nothing() -> None:
    forecast = forecast_accuracy(make_points({100: 0.70, 200: 0.70, 400: 0.70, 800: 0.70}), 1600)
    low, high = forecast.interval
    assert low < 0.70 < high
    assert high - low < 0.03


def test_the_interval_widens_with_the_distance_and_with_the_noise() -> None:
    steady = make_points({100: 0.60, 200: 0.65, 400: 0.69, 800: 0.72})
    noisy = [CurvePoint(each.size, each.order, each.accuracy + 0.03 * (-1) ** each.order) for each in steady]

    def measure_width(points: list[CurvePoint], size: int) -> float:
        low, high = forecast_accuracy(points, size).interval
        return high - low

    assert measure_width(steady, 1000) < measure_width(steady, 1600) < measure_width(noisy, 1600)


def test_overlap_of_nested_and_of_other_sets() -> None:
    points = [CurvePoint(100, 0, 0.6), CurvePoint(200, 0, 0.6), CurvePoint(100, 1, 0.6), CurvePoint(400, -1, 0.7)]
    assert count_overlap(points, 800, 400).tolist() == [
        [100, 100, 25, 100, 100],
        [100, 200, 50, 200, 200],
        [25, 50, 100, 100, 100],
        [100, 200, 100, 400, 400],
        [100, 200, 100, 400, 800],
    ]


def test_kernel_of_two_nested_sets() -> None:
    # Squared errors 4 and 1, squared distance 4 + 1 - 2 = 3: covariance (2 + 1 - sqrt(3)) / 2.
    kernel = compute_kernel(np.array([0.25, 1.0]), np.array([[0.25, 0.25], [0.25, 1.0]]))
    assert kernel == pytest.approx(np.array([[2, (3 - 3**0.5) / 2], [(3 - 3**0.5) / 2, 1]]))


def test_conditioning_two_normals() -> None:
    covariance = np.array([[4.0, 2.0], [2.0, 3.0]])
    log_likelihood, mean, variance = condition(covariance, np.array([3.0]), np.array([1.0, 0.0]))
    assert (log_likelihood, mean, variance) == pytest.approx((-0.5 - np.log(2), 1.0, 2.0))


def test_sizes() -> None:
    assert choose_sizes(1000) == [125, 250, 500]
    assert choose_sizes(100) == [25, 50]
    assert choose_sizes(30) == []
