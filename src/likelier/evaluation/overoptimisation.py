"""Over-optimisation: gold scores against KL, their peak, and the fitted curves of Gao et al. 2022 (arXiv 2210.10760).

d = sqrt(KL) in sqrt(nats); gains are relative to the initial policy, so every curve begins in (0, 0).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from likelier.errors import DataError
from likelier.evaluation.result import EvaluationResult, ScorerResult
from likelier.evaluation.statistics import best_of_n_kl
from likelier.files import read_json, read_log
from likelier.intervals import Floats
from likelier.runs.curve import read_curve

Form = Literal["best_of_n", "rl"]


@dataclass(frozen=True)
class Point:
    """One evaluation of a policy during training."""

    step: int
    kl: float
    """Nats per response from the initial policy."""
    proxy: float
    """Mean of the score that is trained against."""
    gold: dict[str, float]
    """Mean score of each judge that is not trained against."""


class Fit(NamedTuple):
    """A fitted curve of gain against d."""

    form: Form
    alpha: float
    beta: float

    def gain(self, kl: ArrayLike) -> Floats:
        """Return d (alpha - beta d) for `best_of_n`, d (alpha - beta log d) for `rl`."""
        d = np.sqrt(np.asarray(kl, float))
        return np.asarray(make_design_matrix(d, self.form) @ np.array([self.alpha, self.beta]))  # 0-d for a number

    @property
    def kl_at_peak(self) -> float | None:
        """KL of the largest gain; None if the curve has no peak."""
        if self.beta <= 0 or (self.form == "best_of_n" and self.alpha <= 0):
            return None
        exponent = 2 * (self.alpha / self.beta - 1)
        if self.form == "rl":
            return math.exp(exponent) if exponent < 700 else None
        return (self.alpha / (2 * self.beta)) ** 2


def make_design_matrix(d: Floats | np.float64, form: Form) -> Floats:
    """Return the columns d and -d^2, or d and -d log d: both forms are linear in (alpha, beta)."""
    second = d * d if form == "best_of_n" else d * np.log(np.where(d > 0, d, 1.0))
    return np.stack([d, -second], axis=-1)


def fit_curve(kl: ArrayLike, gain: ArrayLike, form: Form, min_kl: float = 0.1) -> Fit | None:
    """Fit gain against d by least squares. None: fewer than two different KLs above `min_kl`.

    The slope of `rl` is infinite at 0, so points below `min_kl` nats are left out.
    """
    nats, gains = np.asarray(kl, float), np.asarray(gain, float)
    is_far = nats >= min_kl
    if len(np.unique(nats[is_far])) < 2:
        return None
    (alpha, beta), *_ = np.linalg.lstsq(make_design_matrix(np.sqrt(nats[is_far]), form), gains[is_far])
    return Fit(form, float(alpha), float(beta))


def read_points(run: Path) -> list[Point]:
    """Read the held-out evaluations of a PPO run, starting with the initial policy.

    DataError: none were made during training (`ppo.eval_steps`, `eval.scorer`).
    """
    result = run / "result.json"
    before = read_json(result)["before"] if result.is_file() else None
    curve = [
        Point(point.step, point.kl, point.score, dict(point.judges))
        for point in read_curve(read_log(run / "metrics.jsonl"), before)
        if point.kl is not None and point.score is not None
    ]
    if not any(point.step for point in curve):
        raise DataError(f"{run}: no KL measured during training; set ppo.eval_steps and eval.scorer, and train again")
    return curve


def measure_overoptimisation(points: Sequence[Point], evaluation: EvaluationResult | None = None) -> dict[str, Any]:
    """Return for each judge the peak score and its KL, the loss after the peak, and the fitted curve with its peak.

    `evaluation`, of the same initial policy, adds best-of-n as the baseline.
    """
    names = list(points[0].gold)
    return {
        "points": [asdict(point) for point in points],
        "judges": {name: describe_judge(points, name) for name in names},
        "best_of": make_best_of_n_points(evaluation) if evaluation else [],
    }


def describe_judge(points: Sequence[Point], name: str) -> dict[str, Any]:
    """Return one judge's first, best and last score, and the fit of its curve."""
    start, end = points[0], points[-1]
    best = max(points, key=lambda point: point.gold[name])
    kl, gains = [point.kl for point in points], [point.gold[name] - start.gold[name] for point in points]
    fit = fit_curve(kl, gains, "rl")
    return {
        "start": start.gold[name],
        "best": best.gold[name],
        "best_step": best.step,
        "best_kl": best.kl,
        "last": end.gold[name],
        "fell": best.gold[name] - end.gold[name],
        "proxy_rose": end.proxy - best.proxy,
        "alpha": fit.alpha if fit else None,
        "beta": fit.beta if fit else None,
        "kl_at_peak": fit.kl_at_peak if fit else None,
    }


def make_best_of_n_points(evaluation: EvaluationResult) -> list[dict[str, Any]]:
    """Return KL bound and judges' scores of best-of-n, starting with n = 1 (the initial policy); none from people."""
    initial = {name: judge.score_a for name, judge in evaluation.judges.items() if isinstance(judge, ScorerResult)}
    rows = [(1, initial)] + [
        (control.n, {name: judge.score for name, judge in control.judges.items()})
        for control in evaluation.best_of
        if control.n > 1
    ]
    return [{"n": n, "kl": best_of_n_kl(n), "gold": gold} for n, gold in rows]


def interpolate_gold(points: Sequence[Point], name: str, kl: Sequence[float]) -> list[float | None]:
    """Return a judge's score at these KLs, linear in sqrt(KL) between the points; None beyond the largest KL.

    Points are ordered by KL, not by step.
    """
    ordered = sorted(points, key=lambda point: point.kl)
    d = np.sqrt([max(point.kl, 0.0) for point in ordered])
    gold = [point.gold[name] for point in ordered]
    distances = np.sqrt(kl)
    scores = np.interp(distances, d, gold)
    return [float(score) if distance <= d[-1] else None for distance, score in zip(distances, scores, strict=True)]
