"""Over-optimisation curves: coefficients recovered from synthetic ones, peaks by hand, points read from a run."""

import json
import math

import numpy as np
import pytest

from likelier.evaluation.overoptimisation import (
    Fit,
    describe_in_words,
    describe_turn,
    fit_best_of_n,
    fit_curve,
    measure_overoptimisation,
)
from likelier.evaluation.statistics import best_of_n_kl
from likelier.runs.curve import CurvePoint


@pytest.mark.parametrize(("form", "alpha", "beta"), [("best_of_n", 0.66, 0.09), ("rl", 0.35, 0.118)])
def test_coefficients_are_recovered_from_a_synthetic_curve(form, alpha, beta):
    kl = np.linspace(0.2, 60.0, 25)
    exact = fit_curve(kl, Fit(form, alpha, beta).gain(kl), form)
    assert exact is not None
    assert (exact.alpha, exact.beta) == pytest.approx((alpha, beta), abs=1e-10)
    noise = np.random.default_rng(0).normal(scale=0.02, size=25)
    noisy = fit_curve(kl, Fit(form, alpha, beta).gain(kl) + noise, form)
    assert noisy is not None
    assert (noisy.alpha, noisy.beta) == pytest.approx((alpha, beta), abs=0.02)


def test_gains_by_hand():
    # d = 2: best of n 2 (0.5 - 0.1 * 2) = 0.6; rl 2 (0.5 - 0.1 log 2) = 0.861370563888011
    assert float(Fit("best_of_n", 0.5, 0.1).gain(4.0)) == pytest.approx(0.6, abs=1e-12)
    assert float(Fit("rl", 0.5, 0.1).gain(4.0)) == pytest.approx(0.861370563888011, abs=1e-12)
    assert [float(Fit(form, 0.5, 0.1).gain(0.0)) for form in ("best_of_n", "rl")] == [0.0, 0.0]


def test_peaks_are_where_gao_et_al_have_them():
    bon, rl = Fit("best_of_n", 0.6, 0.1), Fit("rl", 0.3, 0.15)
    assert bon.kl_at_peak == pytest.approx(9.0)  # d* = alpha / (2 beta) = 3
    assert float(bon.gain(9.0)) == pytest.approx(0.9)  # alpha^2 / (4 beta)
    assert rl.kl_at_peak == pytest.approx(math.e**2)  # d* = exp(alpha / beta - 1) = e
    assert float(rl.gain(math.e**2)) == pytest.approx(0.15 * math.e)  # beta d*
    for fit in (bon, rl):
        grid = np.linspace(0.01, 40.0, 20_000)
        assert grid[np.argmax(fit.gain(grid))] == pytest.approx(fit.kl_at_peak, abs=0.01)


def test_a_curve_that_never_turns_down_has_no_peak():
    assert Fit("rl", 0.3, -0.1).kl_at_peak is None
    assert Fit("best_of_n", 0.3, 0.0).kl_at_peak is None
    assert Fit("rl", 1.0, 1e-6).kl_at_peak is None


def test_points_near_the_start_are_left_out_of_the_fit():
    kl = np.array([0.0, 0.01, 1.0, 4.0, 9.0, 16.0])
    gain = Fit("rl", 0.4, 0.1).gain(kl)
    gain[1] += 5.0
    fit = fit_curve(kl, gain, "rl")
    assert fit is not None
    assert (fit.alpha, fit.beta) == pytest.approx((0.4, 0.1))
    assert fit_curve([0.0, 0.01, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], "rl") is None


def synthetic_curve() -> list[CurvePoint]:
    """The score rises all the way, the gold score turns down at KL e^2 = 7.39."""
    kl = [0.0, 1.0, 4.0, 7.389056, 16.0, 25.0]
    gold = Fit("rl", 0.3, 0.15).gain(kl) - 1.0
    return [CurvePoint(10 * at, each, math.sqrt(each), {"gold": float(gold[at])}) for at, each in enumerate(kl)]


def test_the_peak_of_the_gold_score_is_found():
    found = measure_overoptimisation(synthetic_curve())["gold"]
    assert (found["best_step"], found["best_kl"]) == (30, 7.389056)
    assert (found["start"], found["last_step"]) == (-1.0, 50)
    assert found["best"] == pytest.approx(0.15 * math.e - 1.0, abs=1e-6)
    assert found["fell"] == pytest.approx(0.15 * math.e - 5.0 * (0.3 - 0.15 * math.log(5.0)), abs=1e-6)
    assert found["score_rose"] == pytest.approx(5.0 - math.e, abs=1e-6)
    fit = found["fit"]
    assert (fit["alpha"], fit["beta"]) == (pytest.approx(0.3), pytest.approx(0.15))
    assert fit["kl_at_peak"] == pytest.approx(math.e**2)
    assert fit["kl_at_peak_interval"] == pytest.approx((math.e**2, math.e**2))
    assert not fit["extrapolated"]
    assert json.loads(json.dumps(found)) == {**found, "fit": {key: as_json(value) for key, value in fit.items()}}


def as_json(value):
    return list(value) if isinstance(value, tuple) else value


def test_a_peak_beyond_the_last_point_is_extrapolated():
    assert measure_overoptimisation(synthetic_curve()[:4])["gold"]["fit"]["extrapolated"] is True
    assert measure_overoptimisation(synthetic_curve()[:2])["gold"]["fit"] is None
    assert measure_overoptimisation([]) == {}


def test_intervals_by_hand():
    # log d is 0 and 1 at d = 1 and e. The columns are (1, 0) twice and (e, -e) twice, so X'X = [[2 + 2 e^2, -2 e^2],
    # [-2 e^2, 2 e^2]], its inverse [[1, 1], [1, 1 + 1 / e^2]] / 2; alpha = 1, beta = 0; residuals +-0.1 and +-0.1 e;
    # s^2 = 0.02 (1 + e^2) / 2.
    kl = [1.0, 1.0, math.e**2, math.e**2]
    fit = fit_curve(kl, [1.1, 0.9, 1.1 * math.e, 0.9 * math.e], "rl")
    assert fit is not None
    assert (fit.alpha, fit.beta) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))
    margin = 4.302653 * math.sqrt(0.01 * (1 + math.e**2) / 2)
    (alpha, _), (beta, _) = fit.coefficient_bounds()
    assert alpha == pytest.approx(1.0 - margin, abs=1e-6)
    assert beta == pytest.approx(-margin * math.sqrt(1 + math.exp(-2)), abs=1e-6)
    two = fit_curve(kl[1:3], [1.0, 1.0], "rl")
    assert two is not None
    assert two.peak_bounds() == (None, None)


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(form):
    truth, kl, generator = Fit(form, 0.5, 0.1), np.linspace(0.5, 60.0, 20), np.random.default_rng(0)
    inside = {"alpha": 0, "peak": 0}
    for _ in range(400):
        fit = fit_curve(kl, truth.gain(kl) + generator.normal(scale=0.15, size=20), form)
        lower, upper = fit.peak_bounds()
        inside["peak"] += (lower or 0.0) <= truth.kl_at_peak <= (math.inf if upper is None else upper)
        lower, upper = fit.coefficient_bounds()[0]
        inside["alpha"] += lower <= truth.alpha <= upper
    assert all(0.93 <= count / 400 <= 0.975 for count in inside.values()), inside


def test_a_beta_that_may_be_zero_bounds_the_peak_from_below_only():
    fit = Fit("rl", 1.0, 0.1, np.diag([1e-4, 0.01]), 8)  # beta 0.1 +- 0.1: it may never turn
    lower, upper = fit.peak_bounds()
    assert upper is None
    assert 0.0 < lower < fit.kl_at_peak
    assert Fit("rl", 1.0, 0.1, np.diag([4.0, 0.01]), 8).peak_bounds() == (0.0, None)  # nothing is known


def test_best_of_n_begins_at_the_start():
    kl = [best_of_n_kl(n) for n in (4, 16, 64)]
    fit = fit_best_of_n(-0.5, kl, list(Fit("best_of_n", 0.6, 0.1).gain(kl) - 0.5))
    assert (fit["alpha"], fit["beta"]) == (pytest.approx(0.6), pytest.approx(0.1))
    assert fit["extrapolated"] is True  # 9 nats, and 64 are at most 3.2 away
    assert describe_turn(fit).startswith("the curve d (alpha - beta d) turns at 9 nats (9 to 9), extrapolated")
    assert fit_best_of_n(-0.5, kl[:1], [1.0]) is None


def test_the_turn_in_words():
    record = measure_overoptimisation(synthetic_curve())["gold"]
    assert describe_in_words("gold", record) == (
        "gold: best at step 30 (-0.592), last -0.707 at step 50; the curve d (alpha - beta log d) turns at 7.39 nats "
        "(7.39 to 7.39)"
    )
    assert describe_in_words("gold", record | {"fit": None}) == "gold: best at step 30 (-0.592), last -0.707 at step 50"
    assert describe_turn(record["fit"] | {"kl_at_peak": None}) == "the curve d (alpha - beta log d) does not turn"
    assert "turns at 7.39 nats (2 or more)" in describe_turn(record["fit"] | {"kl_at_peak_interval": (2.0, None)})
