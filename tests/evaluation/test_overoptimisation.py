"""Over-optimisation curves: coefficients recovered from synthetic ones, peaks by hand, points read from a run."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from likelier.errors import DataError
from likelier.evaluation.overoptimisation import (
    Fit,
    Point,
    fit_curve,
    interpolate_gold,
    make_best_of_n_points,
    measure_overoptimisation,
    read_points,
)
from likelier.evaluation.result import EvaluationResult
from likelier.evaluation.statistics import best_of_n_kl
from likelier.files import write_json, write_jsonl


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


def synthetic_points() -> list[Point]:
    """The proxy rises all the way, the gold score turns down at KL e^2 = 7.39."""
    kl = [0.0, 1.0, 4.0, 7.389056, 16.0, 25.0]
    gold = Fit("rl", 0.3, 0.15).gain(kl) - 1.0
    return [Point(10 * at, each, math.sqrt(each), {"gold": float(gold[at])}) for at, each in enumerate(kl)]


def test_the_peak_of_the_gold_score_is_found():
    found = measure_overoptimisation(synthetic_points())["judges"]["gold"]
    assert (found["best_step"], found["best_kl"]) == (30, 7.389056)
    assert found["start"] == -1.0
    assert found["best"] == pytest.approx(0.15 * math.e - 1.0, abs=1e-6)
    assert found["fell"] == pytest.approx(0.15 * math.e - 5.0 * (0.3 - 0.15 * math.log(5.0)), abs=1e-6)
    assert found["proxy_rose"] == pytest.approx(5.0 - math.e, abs=1e-6)
    assert (found["alpha"], found["beta"]) == (pytest.approx(0.3), pytest.approx(0.15))
    assert found["kl_at_peak"] == pytest.approx(math.e**2)


def test_gold_between_the_points():
    points = [Point(0, 0.0, 0.0, {"gold": 1.0}), Point(2, 9.0, 0.0, {"gold": 4.0}), Point(1, 4.0, 0.0, {"gold": 2.0})]
    assert interpolate_gold(points, "gold", [0.0, 1.0, 4.0, 6.25, 9.0, 9.1]) == [1.0, 1.5, 2.0, 3.0, 4.0, None]


def test_points_are_read_from_a_run(tmp_path: Path):
    write_jsonl(
        tmp_path / "metrics.jsonl",
        [
            {"step": 1, "kl": 0.1},
            {"step": 2, "kl": 0.5, "eval_kl": 0.4, "eval_score": 1.5, "eval/words": 0.2, "eval/other": -1.0},
        ],
    )
    write_json(tmp_path / "result.json", {"before": {"eval_kl": 0.0, "eval_score": 1.0, "eval/words": 0.1}})
    assert read_points(tmp_path) == [
        Point(0, 0.0, 1.0, {"words": 0.1}),
        Point(2, 0.4, 1.5, {"words": 0.2, "other": -1.0}),
    ]
    assert json.dumps(measure_overoptimisation(read_points(tmp_path)))  # what it returns is JSON


def test_a_run_that_is_writing_a_step_or_was_killed_there_is_read_up_to_it(tmp_path: Path):
    line = '{"step": 1, "eval_kl": 0.4, "eval_score": 1.5}'
    (tmp_path / "metrics.jsonl").write_text(f'{line}\n{{"step": 2, "eval_kl": 0.')
    assert read_points(tmp_path) == [Point(1, 0.4, 1.5, {})]


def test_a_run_that_measured_nothing_is_named(tmp_path: Path):
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "kl": 0.1}])
    with pytest.raises(DataError, match="eval_steps"):
        read_points(tmp_path)


def test_best_of_n_begins_at_the_start():
    control = {"win_rate": 0.5, "interval": [0.4, 0.6], "difference": 0.0, "difference_interval": None, "in_stds": None}
    scorer = {"win_rate": 0.5, "interval": [0.4, 0.6], "ties": 0, "n": 4, "score_a": -0.5, "score_b": 1.0, "std_a": 1.0}
    scorer |= {"difference": 1.5, "difference_interval": None, "in_stds": 1.5, "in_stds_interval": None}
    people = {"win_rate": 0.5, "interval": [0.4, 0.6], "ties": 0, "n": 4, "unjudged": 0, "judgements": 4, "people": 1}
    stats = {"response_length": 4.0, "ended_rate": 1.0, "distinct_1": 0.5, "distinct_2": 0.5}
    record = {"model_a": "a", "model_b": "b", "seed": 0, "kl": None, "kl_interval": None, "a": stats, "b": stats}
    best_of = [
        {"n": n, "kl_bound": best_of_n_kl(n), "selector_score": 0.0, "judges": {"gold": control | {"score": score}}}
        for n, score in ((1, 9.0), (16, 0.25))
    ]
    evaluation = EvaluationResult.from_json(
        record | {"judges": {"gold": scorer, "the team": people}, "best_of": best_of}
    )
    assert make_best_of_n_points(evaluation) == [
        {"n": 1, "kl": 0.0, "gold": {"gold": -0.5}},
        {"n": 16, "kl": best_of_n_kl(16), "gold": {"gold": 0.25}},
    ]
    assert measure_overoptimisation(synthetic_points(), evaluation)["best_of"] == make_best_of_n_points(evaluation)
