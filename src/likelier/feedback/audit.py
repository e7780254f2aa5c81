"""Whether answers follow something else than the responses: the side, the length, nothing at all, or the clock."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from scipy.stats import beta, hypergeom, norm

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SIDE, SKILL, LENGTH = 0, 1, 2
PRIOR_MEAN, PRIOR_SD = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 2.0])
"""Of side lean, skill and length lean: everybody is taken for a typical annotator until they show otherwise."""
MIN_SLOPE = 0.2
"""A panel whose median member follows the consensus less than this cannot be a measure of skill."""
MAX_NEWTON_STEPS, LONGEST_STEP = 100, 2.0
TOO_FAST = 0.25
"""An answer is fast if it took less than this share of the others' usual time."""


@dataclass(frozen=True)
class Answers:
    """Judgements as arrays, [N] each."""

    annotator: Indices
    """0..A-1, each at least once"""
    sign: Floats
    """1 left, -1 right, 0 tie"""
    consensus: Floats
    """What the others make of it: P(left is better) - P(right is better), from -1 to 1; 0: unknown"""
    longer: Floats
    """1: left is longer, -1: right is, 0: equal"""
    seconds: Floats
    """NaN: unknown"""


@dataclass(frozen=True)
class Leanings:
    """What each annotator's answers follow, [annotators] each, in log-odds."""

    side: Floats
    """towards the left, between equal responses"""
    skill: Floats
    """the others' consensus: 1 as the panel follows it, 0 not at all, negative against it"""
    skill_apart: Floats
    """the same beside a length lean of one's own"""
    length: Floats
    """towards the longer response, beyond what the consensus and the panel's own taste explain"""
    z: dict[str, Floats]
    """How surprising: left, right, longer, shorter; random: skill below 1; reversed: skill below 0. Standard normal
    for somebody typical (reversed: for somebody random)."""


def leanings(answers: Answers) -> Leanings:
    """A logistic regression for each annotator: logit P(left) = side + skill * expected + length * longer.

    `expected` is what the panel's typical member would say, slope * consensus + tilt * longer, where slope and tilt are
    medians over the annotators of the same regression without a panel to compare with. So a length lean is one that the
    panel does not share: where the truth itself goes with length, or the consensus is noisy, the tilt takes it up.
    `skill` comes from the fit without a length lean: where the truth goes with length, the two can hardly be told
    apart. Ties are left out. `z`: signed roots of likelihood ratios, penalised by the prior.
    """
    said = answers.sign != 0
    annotator, left = answers.annotator[said], answers.sign[said] > 0
    consensus, longer = answers.consensus[said], answers.longer[said]
    num = int(answers.annotator.max()) + 1
    counts = np.bincount(annotator, minlength=num)
    weights = np.minimum(counts, np.median(counts))  # nobody's many answers make them typical
    ones = np.ones(len(longer))
    alone, _ = fit(np.stack([ones, consensus, longer], axis=1), left, annotator, num)
    slope = max(weighted_median(alone[:, SKILL], weights), MIN_SLOPE)
    tilt = weighted_median(alone[:, LENGTH], weights)
    design = np.stack([ones, slope * consensus + tilt * longer, longer], axis=1)
    full, best = fit(design, left, annotator, num)
    plain, plain_best = fit(design, left, annotator, num, {LENGTH: 0})
    side = roots(full[:, SIDE], best, fit(design, left, annotator, num, {SIDE: 0})[1])
    length = roots(full[:, LENGTH], best, plain_best)
    typical = fit(design, left, annotator, num, {LENGTH: 0, SKILL: 1})[1]
    chance = fit(design, left, annotator, num, {LENGTH: 0, SKILL: 0})[1]
    z = {"left": side, "right": -side, "longer": length, "shorter": -length}
    z["random"] = -roots(plain[:, SKILL] - 1, plain_best, typical)
    z["reversed"] = -roots(plain[:, SKILL], plain_best, chance)
    return Leanings(full[:, SIDE], plain[:, SKILL], full[:, SKILL], full[:, LENGTH], z)


def roots(effect: Floats, best: Floats, held: Floats) -> Floats:
    """Signed roots of likelihood ratios: the fit against one that holds the effect at none."""
    root: Floats = np.sign(effect) * np.sqrt(2 * np.maximum(best - held, 0))
    return root


def weighted_median(values: Floats, weights: Floats) -> float:
    """The smallest value with half of the weight at or below it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def fit(
    design: Floats, left: NDArray[np.bool_], annotator: Indices, num: int, held: Mapping[int, float] | None = None
) -> tuple[Floats, Floats]:
    """Coefficients [annotators, 3] of a penalised logistic regression for each, and its log-posterior, by Newton.

    `held`: columns whose coefficients stay at a value.
    """
    held = held or {}
    free = [column for column in range(design.shape[1]) if column not in held]
    coefficients = np.tile(PRIOR_MEAN, (num, 1))
    for column, value in held.items():
        coefficients[:, column] = value
    for _ in range(MAX_NEWTON_STEPS):
        p = expit((design * coefficients[annotator]).sum(axis=1))
        slope = np.stack([np.bincount(annotator, (left - p) * design[:, k], num) for k in free], axis=1)
        slope = slope - ((coefficients - PRIOR_MEAN) / PRIOR_SD**2)[:, free]
        weighted = design[:, free] * (p * (1 - p))[:, None]
        curvature = np.stack([
            np.stack([np.bincount(annotator, weighted[:, k] * design[:, other], num) for other in free], axis=1)
            for k in range(len(free))
        ], axis=1)  # fmt: skip
        curvature = curvature + np.diag(1 / PRIOR_SD[free] ** 2)
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        step *= np.minimum(1, LONGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        coefficients[:, free] += step
        if np.abs(step).max() < 1e-8:
            break
    logits = (design * coefficients[annotator]).sum(axis=1)
    likelihood = np.bincount(annotator, log_expit(np.where(left, logits, -logits)), num)
    return coefficients, likelihood - ((coefficients - PRIOR_MEAN) ** 2 / (2 * PRIOR_SD**2)).sum(axis=1)


def ties(answers: Answers) -> tuple[Floats, Floats]:
    """How much more often than more than half of the others each annotator says tie, [annotators], and its p-value.

    Honest people differ in how readily they say tie, and one who never does must not make the others stand out. So each
    is held against every other one (Fisher's exact test); the p-value is that of "fewer than r of the m others say it
    less often", r being more than half: (m - r + 1) times the r-th smallest (Benjamini and Heller 2008). The excess is
    over the r-th smallest rate, and begins at the lower end of their own rate's exact interval (two standard errors).
    """
    said, judged = np.bincount(answers.annotator, answers.sign == 0), np.bincount(answers.annotator)
    lowest = np.where(said > 0, beta.ppf(norm.sf(2), said, judged - said + 1), 0.0)
    excess, p_values = np.zeros(len(said)), np.ones(len(said))
    for number in range(len(said) if len(said) > 1 else 0):
        others, rank = np.delete(np.arange(len(said)), number), (len(said) + 1) // 2
        total, drawn = said[number] + said[others], judged[number]
        each = hypergeom.sf(said[number] - 1, drawn + judged[others], total, drawn)
        p_values[number] = min(1.0, (len(others) - rank + 1) * np.sort(each)[rank - 1])
        excess[number] = lowest[number] - np.sort(said[others] / judged[others])[rank - 1]
    return excess, p_values


def fast_answers(answers: Answers) -> tuple[Floats, Floats]:
    """How much more often than the others each answers within `TOO_FAST` of the others' usual time, and its p-value.

    The usual time is the median of the others' medians; who gave no times, or has nobody to compare with, gets 0 and 1.
    """
    num = int(answers.annotator.max()) + 1
    known = ~np.isnan(answers.seconds)
    everybody = np.sort(answers.seconds[known])
    times = [answers.seconds[known & (answers.annotator == number)] for number in range(num)]
    medians = np.array([np.median(own) if len(own) else np.nan for own in times])
    over, p_values = np.zeros(num), np.ones(num)
    for number, own in enumerate(times):
        others = np.delete(medians, number)
        if len(own) and not np.isnan(others).all():
            limit = TOO_FAST * float(np.nanmedian(others))
            fast, fast_of_all = int((own < limit).sum()), int(np.searchsorted(everybody, limit))
            over[number], p_values[number] = excess_over(fast, len(own), fast_of_all - fast, len(everybody) - len(own))
    return over, p_values


def excess_over(said: int, judged: int, others_said: int, others_judged: int) -> tuple[float, float]:
    """The rate above the others' rate, and how probably that many or more are this one's (Fisher's exact test)."""
    if not others_judged:
        return 0.0, 1.0
    p_value = hypergeom.sf(said - 1, judged + others_judged, said + others_said, judged)
    return said / judged - others_said / others_judged, float(p_value)


def lean(signs: Floats) -> float | None:
    """The share of 1 among 1 and -1, minus one half; zeros are left out. None: nothing to count."""
    counted = signs[signs != 0]
    return float((counted > 0).mean() - 0.5) if len(counted) else None
