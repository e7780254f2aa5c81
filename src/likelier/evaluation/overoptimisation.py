"""Over-optimisation: gold scores over KL, where they turn down, and the curves of Gao et al. 2022 (arXiv 2210.10760).

d = sqrt(KL) in sqrt(nats), and gains are counted from the start, so that every curve begins in (0, 0).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from likelier.errors import DataError
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
    """Nats per response from the start."""
    proxy: float
    """Mean of the score that was trained against."""
    gold: dict[str, float]
    """Mean score of each judge that was not."""


class Fit(NamedTuple):
    """A fitted curve of gain over d."""

    form: Form
    alpha: float
    beta: float

    def gain(self, kl: ArrayLike) -> Floats:
        """`best_of_n`: d (alpha - beta d). `rl`: d (alpha - beta log d)."""
        d = np.sqrt(np.asarray(kl, float))
        return np.asarray(
            design(d, self.form) @ np.array([self.alpha, self.beta])
        )  # of a number: an array without axes

    @property
    def kl_at_peak(self) -> float | None:
        """Where the gain is largest; None for a curve that does not turn down."""
        if self.beta <= 0 or (self.form == "best_of_n" and self.alpha <= 0):
            return None
        exponent = 2 * (self.alpha / self.beta - 1)
        if self.form == "rl":
            return math.exp(exponent) if exponent < 700 else None
        return (self.alpha / (2 * self.beta)) ** 2


def design(d: Floats | np.float64, form: Form) -> Floats:
    """Both forms are linear in (alpha, beta): columns d and -d^2, or d and -d log d."""
    second = d * d if form == "best_of_n" else d * np.log(np.where(d > 0, d, 1.0))
    return np.stack([d, -second], axis=-1)


def fit_curve(kl: ArrayLike, gain: ArrayLike, form: Form, min_kl: float = 0.1) -> Fit | None:
    """Least squares of gain over d. None: fewer than two different KLs above `min_kl`.

    The slope of `rl` is infinite at 0, so what is nearer to the start than `min_kl` nats is left out.
    """
    nats, gains = np.asarray(kl, float), np.asarray(gain, float)
    far = nats >= min_kl
    if len(np.unique(nats[far])) < 2:
        return None
    (alpha, beta), *_ = np.linalg.lstsq(design(np.sqrt(nats[far]), form), gains[far])
    return Fit(form, float(alpha), float(beta))


def points_of_run(run: Path) -> list[Point]:
    """Evaluations of a PPO run on its held-out prompts, the start first (`ppo.eval_steps` and `eval.scorer`).

    DataError: there are none during training.
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


def drift(points: Sequence[Point], evaluation: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What each judge says over KL: its best point, how far it fell after it, the fitted curve and its peak.

    `evaluation` (an `evaluation.json` from the same start) adds best of n, which any training is to be held against.
    """
    names = list(points[0].gold)
    return {
        "points": [asdict(each) for each in points],
        "judges": {name: course(points, name) for name in names},
        "best_of": best_of_points(evaluation) if evaluation else [],
    }


def course(points: Sequence[Point], name: str) -> dict[str, Any]:
    """One judge's way over the points."""
    start, last = points[0], points[-1]
    best = max(points, key=lambda each: each.gold[name])
    kl, gains = [each.kl for each in points], [each.gold[name] - start.gold[name] for each in points]
    fit = fit_curve(kl, gains, "rl")
    return {
        "start": start.gold[name],
        "best": best.gold[name],
        "best_step": best.step,
        "best_kl": best.kl,
        "last": last.gold[name],
        "fell": best.gold[name] - last.gold[name],
        "proxy_rose": last.proxy - best.proxy,
        "alpha": fit.alpha if fit else None,
        "beta": fit.beta if fit else None,
        "kl_at_peak": fit.kl_at_peak if fit else None,
    }


def best_of_points(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """KL bound and each judge's score of best of n, from `n` = 1 (the start) on; people give none."""
    start = {name: each["score_a"] for name, each in evaluation["judges"].items() if "score_a" in each}
    rows = [(1, start)] + [
        (each["n"], {name: judge["score"] for name, judge in each["judges"].items()})
        for each in evaluation.get("best_of", [])
        if each["n"] > 1
    ]
    return [{"n": n, "kl": best_of_n_kl(n), "gold": gold} for n, gold in rows]


def gold_at(points: Sequence[Point], name: str, kl: Sequence[float]) -> list[float | None]:
    """A judge's score at these KLs, between the measured points in sqrt(KL); None beyond the farthest.

    Points are taken in the order of their KL, whenever they were measured.
    """
    ordered = sorted(points, key=lambda each: each.kl)
    d = np.sqrt([max(each.kl, 0.0) for each in ordered])
    gold = [each.gold[name] for each in ordered]
    wanted = np.sqrt(kl)
    found = np.interp(wanted, d, gold)
    return [float(value) if at <= d[-1] else None for at, value in zip(wanted, found, strict=True)]
