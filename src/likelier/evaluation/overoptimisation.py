"""Over-optimisation: gold scores against KL, their peak, and the fitted curves of Gao et al. 2022 (arXiv 2210.10760).

d = sqrt(KL) in sqrt(nats); gains are relative to the initial policy, so every curve begins in (0, 0).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from likelier.intervals import Floats
from likelier.runs.curve import CurvePoint, find_peak

Form = Literal["best_of_n", "rl"]
Bounds = tuple[float | None, float | None]
"""Ends of a 95 % interval; None: unbounded there."""

MIN_DISTANCE = 0.5
"""Smallest d that is fitted: the slope of `rl` is infinite at 0."""
LARGEST_EXPONENT = 700.0
"""exp of more is no double."""


class Fit(NamedTuple):
    """A fitted curve of gain against d, with 95 % intervals."""

    form: Form
    alpha: float
    beta: float
    covariance: Floats | None = None
    """[2, 2] of (alpha, beta); None with two points, which any two coefficients pass through."""
    freedom: int = 0
    """Degrees of freedom of the covariance."""

    def gain(self, kl: ArrayLike) -> Floats:
        """Return d (alpha - beta d) for `best_of_n`, d (alpha - beta log d) for `rl`."""
        d = np.sqrt(np.asarray(kl, float))
        return np.asarray(make_design_matrix(d, self.form) @ np.array([self.alpha, self.beta]))  # 0-d for a number

    @property
    def kl_at_peak(self) -> float | None:
        """KL of the largest gain; None if the curve has no peak."""
        if self.beta <= 0 or (self.form == "best_of_n" and self.alpha <= 0):
            return None
        return locate_peak(self.alpha / self.beta, self.form)

    def coefficient_bounds(self) -> tuple[Bounds, Bounds]:
        """Return the intervals of alpha and beta by Student's t; unbounded without a covariance."""
        if self.covariance is None:
            return (None, None), (None, None)
        margins = self.quantile * np.sqrt(np.diag(self.covariance))
        alpha, beta = (
            (float(value - margin), float(value + margin))
            for value, margin in zip((self.alpha, self.beta), margins, strict=True)
        )
        return alpha, beta

    def peak_bounds(self) -> Bounds:
        """Return the interval of the KL at the peak: Fieller's for alpha / beta, of which the peak is a function.

        Fieller 1954, "Some problems in interval estimation": the ratios r with (alpha - r beta)^2 <= t^2 var(alpha -
        r beta). Unbounded above where beta may be 0: then the curve may as well never turn.
        """
        if self.covariance is None or self.kl_at_peak is None:
            return None, None
        (var_alpha, cov), (_, var_beta) = self.covariance.tolist()
        t2 = self.quantile**2
        a, b, c = self.beta**2 - t2 * var_beta, self.alpha * self.beta - t2 * cov, self.alpha**2 - t2 * var_alpha
        root = math.sqrt(max(b * b - a * c, 0.0))
        if a > 0:
            return locate_peak((b - root) / a, self.form), locate_peak((b + root) / a, self.form)
        # The set is all but an interval below the estimate, or everything: a bound from below, or none.
        lower = (b - root) / a if a < 0 and b * b > a * c else -math.inf
        return (locate_peak(lower, self.form) if lower < self.alpha / self.beta else 0.0), None

    @property
    def quantile(self) -> float:
        """Student's 97.5 % quantile."""
        return float(stats.t.ppf(0.975, self.freedom))


def locate_peak(ratio: float, form: Form) -> float | None:
    """KL at the peak from alpha / beta: d = r / 2, or d = exp(r - 1). None if it overflows."""
    if form == "best_of_n":
        return max(ratio, 0.0) ** 2 / 4
    return math.exp(2 * (ratio - 1)) if 2 * (ratio - 1) < LARGEST_EXPONENT else None


def make_design_matrix(d: Floats | np.float64, form: Form) -> Floats:
    """Return the columns d and -d^2, or d and -d log d: both forms are linear in (alpha, beta)."""
    second = d * d if form == "best_of_n" else d * np.log(np.where(d > 0, d, 1.0))
    return np.stack([d, -second], axis=-1)


def fit_curve(kl: ArrayLike, gain: ArrayLike, form: Form) -> Fit | None:
    """Fit gain against d by least squares. None: fewer than two different KLs at `MIN_DISTANCE` or more.

    Residuals count as independent: what all points of a run share (the held-out prompts, their random numbers, the
    form being wrong) is not in the intervals.
    """
    nats, gains = np.asarray(kl, float), np.asarray(gain, float)
    is_far = nats >= MIN_DISTANCE**2
    if len(np.unique(nats[is_far])) < 2:
        return None
    design, target = make_design_matrix(np.sqrt(nats[is_far]), form), gains[is_far]
    coefficients, *_ = np.linalg.lstsq(design, target)
    freedom = len(target) - 2
    covariance: Floats | None = None
    if freedom:
        variance = float(np.square(target - design @ coefficients).sum()) / freedom
        covariance = np.asarray(variance * np.linalg.pinv(design.T @ design), np.float64)
    return Fit(form, float(coefficients[0]), float(coefficients[1]), covariance, freedom)


def measure_overoptimisation(curve: Sequence[CurvePoint]) -> dict[str, Any]:
    """Return for each judge its best and last score, with step and KL, and the fitted curve; JSON.

    `curve` begins with the initial policy. A judge that scored it not, or never during training, is left out.
    """
    judges = dict.fromkeys(name for point in curve for name in point.judges)
    return {name: record for name in judges if (record := describe_judge(curve, name)) is not None}


def describe_judge(curve: Sequence[CurvePoint], name: str) -> dict[str, Any] | None:
    """Return one judge's first, best and last score, and the fit of its curve; None: fewer than two evaluations."""
    peak = find_peak(curve, name)
    if peak is None or name not in curve[0].judges:
        return None
    start, best, last = curve[0], peak.best, peak.last
    measured = [point for point in curve if point.kl is not None and name in point.judges]
    kl, gains = [point.kl or 0.0 for point in measured], [point.judges[name] - start.judges[name] for point in measured]
    return {
        "start": start.judges[name],
        "best": best.judges[name],
        "best_step": best.step,
        "best_kl": best.kl,
        "last": last.judges[name],
        "last_step": last.step,
        "fell": best.judges[name] - last.judges[name],
        "score_rose": None if last.score is None or best.score is None else last.score - best.score,
        "fit": describe_fit(fit_curve(kl, gains, "rl"), max(kl, default=0.0)),
    }


def describe_fit(fit: Fit | None, largest_kl: float) -> dict[str, Any] | None:
    """Return a fit as JSON; a peak beyond `largest_kl` is called extrapolated."""
    if fit is None:
        return None
    (alpha, beta), peak = fit.coefficient_bounds(), fit.kl_at_peak
    return {
        "form": fit.form,
        "alpha": fit.alpha,
        "alpha_interval": alpha,
        "beta": fit.beta,
        "beta_interval": beta,
        "kl_at_peak": peak,
        "kl_at_peak_interval": fit.peak_bounds(),
        "extrapolated": peak is not None and peak > largest_kl,
    }


def describe_in_words(name: str, record: Mapping[str, Any]) -> str:
    """Say in a sentence where a judge was best, and where its fitted curve turns; `record` is of `describe_judge`."""
    said = (
        f"{name}: best at step {record['best_step']} ({record['best']:.3g}), last {record['last']:.3g} at step "
        f"{record['last_step']}"
    )
    return f"{said}; {describe_turn(record['fit'])}" if record["fit"] else said


def describe_turn(fit: Mapping[str, Any]) -> str:
    """Say where a fitted curve turns; `fit` is of `describe_fit`."""
    formula = "d (alpha - beta d)" if fit["form"] == "best_of_n" else "d (alpha - beta log d)"
    if fit["kl_at_peak"] is None:
        return f"the curve {formula} does not turn"
    low, high = fit["kl_at_peak_interval"]
    interval = "" if low is None else f" ({low:.3g} or more)" if high is None else f" ({low:.3g} to {high:.3g})"
    beyond = ", extrapolated: no policy went that far" if fit["extrapolated"] else ""
    return f"the curve {formula} turns at {fit['kl_at_peak']:.3g} nats{interval}{beyond}"


def fit_best_of_n(start: float, kl: Sequence[float], scores: Sequence[float]) -> dict[str, Any] | None:
    """Fit d (alpha - beta d) to a judge's mean scores of best of n, relative to `start`; None: fewer than two n.

    `kl` is the bound log n - (n - 1) / n.
    """
    return describe_fit(fit_curve(np.asarray(kl), np.asarray(scores) - start, "best_of_n"), max(kl, default=0.0))
