"""Estimates of influences on an annotator's answers besides quality: side, length, guessing, haste, tie rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from scipy.stats import beta, hypergeom, norm

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SIDE, SKILL, LENGTH = 0, 1, 2
"""Columns of the design matrix."""
PRIOR_MEAN, PRIOR_SD = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 2.0])
"""Normal priors of side bias, skill and length bias, centred at a typical annotator: unbiased, of skill 1."""
EFFECT_SD = 2.0
"""Of the normal prior, of mean 0, of each further influence."""
MIN_SLOPE = 0.2
"""Lower limit of the panel's median slope on the consensus: below it the consensus cannot serve as a unit of skill."""
MAX_NEWTON_STEPS, MAX_NEWTON_STEP_SIZE = 100, 2.0
FAST_FRACTION = 0.25
"""An answer is fast if it took less than this fraction of the others' usual time."""


@dataclass(frozen=True)
class Answers:
    """Judgements as arrays, [N] each."""

    annotator: Indices
    """0..A-1, each at least once"""
    sign: Floats
    """1 left, -1 right, 0 tie"""
    consensus: Floats
    """P(left is better) - P(right is better) by the other annotators' votes, from -1 to 1; 0: unknown"""
    longer: Floats
    """1: left is longer, -1: right is, 0: equal"""
    seconds: Floats
    """NaN: unknown"""


@dataclass(frozen=True)
class ChoiceFit:
    """A logistic regression per annotator of the answers that are no ties, [D]: what they are to be explained by."""

    rows: Indices
    """[D]: places of these answers among all"""
    annotator: Indices
    left: NDArray[np.bool_]
    design: Floats
    """[D, 3]: 1, the logit of a typical annotator, the longer side"""
    coefficients: Floats
    """[annotators, 3]"""

    @cached_property
    def logits(self) -> Floats:
        """Log-odds of left of each answer by the annotator's own coefficients, [D]."""
        return predict_logits(self.design, self.coefficients, self.annotator)

    @cached_property
    def p_left(self) -> Floats:
        """Probability of left of each answer, [D]."""
        return np.asarray(expit(self.logits))

    @cached_property
    def curvature(self) -> Floats:
        """Curvature of the log-posterior at the coefficients, [annotators, 3, 3]."""
        weights = self.p_left * (1 - self.p_left)
        likelihood = compute_curvature(self.design, weights, self.annotator, len(self.coefficients))
        return np.asarray(likelihood + np.diag(1 / PRIOR_SD**2))


@dataclass(frozen=True)
class AnnotatorBiases:
    """Coefficients of each annotator's choices, [annotators] each, in log-odds."""

    side: Floats
    """Bias towards the left, between equal responses."""
    skill: Floats
    """Slope on the panel's consensus: 1 like the panel, 0 independent of it, negative against it."""
    skill_given_length: Floats
    """The same slope with the annotator's own length bias in the model."""
    length: Floats
    """Bias towards the longer response, beyond the consensus and the panel's own length bias."""
    z: dict[str, Floats]
    """z-scores by flag: left, right, longer, shorter; random: skill below 1; reversed: skill below 0. Standard normal
    for a typical annotator (reversed: for a random one)."""
    fit: ChoiceFit
    """With all three coefficients."""


def estimate_biases(answers: Answers) -> AnnotatorBiases:
    """Fit a logistic regression per annotator: logit P(left) = side + skill * expected + length * longer.

    `expected` is a typical annotator's logit, slope * consensus + tilt * longer, where slope and tilt are medians over
    annotators of the same regression on the consensus. So only length bias beyond the panel's counts: where quality
    correlates with length, or the consensus is noisy, the tilt absorbs it. `skill` comes from the fit without a length
    bias: where quality correlates with length, the two are nearly collinear. Ties are left out. `z`: signed roots of
    likelihood ratios, penalised by the prior.
    """
    decided = answers.sign != 0
    annotator, left = answers.annotator[decided], answers.sign[decided] > 0
    consensus, longer = answers.consensus[decided], answers.longer[decided]
    num_annotators = int(answers.annotator.max()) + 1
    counts = np.bincount(annotator, minlength=num_annotators)
    # Weighted, since a slope from few answers is noisy; capped, so that one busy annotator does not define typical.
    weights = np.minimum(counts, np.median(counts))
    ones = np.ones(len(longer))
    own_slopes, _ = fit_logistic(np.stack([ones, consensus, longer], axis=1), left, annotator, num_annotators)
    slope = max(weighted_median(own_slopes[:, SKILL], weights), MIN_SLOPE)
    tilt = weighted_median(own_slopes[:, LENGTH], weights)
    design = np.stack([ones, slope * consensus + tilt * longer, longer], axis=1)

    def fit(fixed: Mapping[int, float] | None = None) -> tuple[Floats, Floats]:
        return fit_logistic(design, left, annotator, num_annotators, fixed)

    full, full_loglik = fit()
    no_length, no_length_loglik = fit({LENGTH: 0})
    side_z = signed_likelihood_roots(full[:, SIDE], full_loglik, fit({SIDE: 0})[1])
    length_z = signed_likelihood_roots(full[:, LENGTH], full_loglik, no_length_loglik)
    typical_loglik = fit({LENGTH: 0, SKILL: 1})[1]
    random_loglik = fit({LENGTH: 0, SKILL: 0})[1]
    z = {"left": side_z, "right": -side_z, "longer": length_z, "shorter": -length_z}
    z["random"] = -signed_likelihood_roots(no_length[:, SKILL] - 1, no_length_loglik, typical_loglik)
    z["reversed"] = -signed_likelihood_roots(no_length[:, SKILL], no_length_loglik, random_loglik)
    choice_fit = ChoiceFit(np.flatnonzero(decided), annotator, left, design, full)
    return AnnotatorBiases(full[:, SIDE], no_length[:, SKILL], full[:, SKILL], full[:, LENGTH], z, choice_fit)


def signed_likelihood_roots(effect: Floats, loglik: Floats, null_loglik: Floats) -> Floats:
    """Return sign(effect) * sqrt(2 * log-likelihood ratio) of a fit against the null model without the effect."""
    root: Floats = np.sign(effect) * np.sqrt(2 * np.maximum(loglik - null_loglik, 0))
    return root


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the smallest value with at least half of the weight at or below it."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def fit_logistic(
    design: Floats,
    left: NDArray[np.bool_],
    annotator: Indices,
    num_annotators: int,
    fixed: Mapping[int, float] | None = None,
) -> tuple[Floats, Floats]:
    """Fit one penalised logistic regression per annotator, all at once, by Newton's method.

    (`reward/check.py` fits one regression of many columns by L-BFGS; a panel may have thousands of annotators.)
    Returns the coefficients [annotators, K] and the log-posteriors [annotators]. `design` is [N, K], of which the first
    three columns are `SIDE`, `SKILL` and `LENGTH`; `fixed` maps columns to values at which their coefficients are held.
    """
    fixed, num_more = fixed or {}, design.shape[1] - len(PRIOR_MEAN)
    prior_mean = np.append(PRIOR_MEAN, np.zeros(num_more))
    prior_sd = np.append(PRIOR_SD, np.full(num_more, EFFECT_SD))
    free = [column for column in range(design.shape[1]) if column not in fixed]
    coefficients = np.tile(prior_mean, (num_annotators, 1))
    for column, value in fixed.items():
        coefficients[:, column] = value

    def log_posterior(values: Floats) -> tuple[Floats, Floats]:
        logits = predict_logits(design, values, annotator)
        loglik = np.bincount(annotator, log_expit(np.where(left, logits, -logits)), num_annotators)
        return logits, loglik - ((values - prior_mean) ** 2 / (2 * prior_sd**2)).sum(axis=1)

    design = np.asfortranarray(design)  # it is read by columns
    logits, height = log_posterior(coefficients)
    limit = np.full(num_annotators, MAX_NEWTON_STEP_SIZE)
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(logits)
        gradient = np.stack([np.bincount(annotator, (left - p) * design[:, k], num_annotators) for k in free], axis=1)
        gradient = gradient - ((coefficients - prior_mean) / prior_sd**2)[:, free]
        hessian = compute_curvature(design[:, free], p * (1 - p), annotator, num_annotators)
        hessian += np.diag(1 / prior_sd[free] ** 2)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        # A full Newton step overshoots where an annotator's answers are separable and the curvature nearly 0.
        size = np.abs(step).max(axis=1)
        step *= np.minimum(1, limit / np.maximum(size, 1e-12))[:, None]
        if (np.minimum(size, limit) < 1e-8).all():
            break
        trial = coefficients.copy()
        trial[:, free] += step
        logits, trial_height = log_posterior(trial)
        # Steps that lead down are taken back and shortened: with wide differences of scores they could go to and fro.
        worse = trial_height < height - 1e-10
        if worse.any():
            trial[worse] = coefficients[worse]
            limit[worse] = np.minimum(size, limit)[worse] / 4
            logits, trial_height = log_posterior(trial)
        coefficients, height = trial, trial_height
    return coefficients, height


def predict_logits(design: Floats, coefficients: Floats, annotator: Indices) -> Floats:
    """Return the log-odds of left of each answer, [N], by its annotator's coefficients [annotators, K]."""
    logits = np.zeros(len(annotator))
    for column, own in zip(design.T, coefficients.T, strict=True):
        logits += column * own[annotator]
    return logits


def compute_curvature(design: Floats, weights: Floats, annotator: Indices, num_annotators: int) -> Floats:
    """Return sum over each annotator's answers of w x x', [annotators, K, K]."""
    size = design.shape[1]
    curvature = np.empty((num_annotators, size, size))
    for one in range(size):
        weighted = weights * design[:, one]
        for other in range(one, size):
            curvature[:, one, other] = np.bincount(annotator, weighted * design[:, other], num_annotators)
            curvature[:, other, one] = curvature[:, one, other]
    return curvature


def measure_excess_ties(answers: Answers) -> tuple[Floats, Floats]:
    """Test each annotator's tie rate against the majority of the others; returns (excess, p-values), [annotators] each.

    Honest people's tie rates differ, and a single annotator who never answers tie should not make the others outliers.
    So each is compared with every other one (Fisher's exact test). The null hypothesis is that fewer than r of the m
    others have a lower rate, with r above m / 2; its p-value is (m - r + 1) times the r-th smallest (Benjamini and
    Heller 2008). The excess is the lower end of the annotator's exact interval (two standard errors) minus the r-th
    smallest of the others' rates.
    """
    num_ties, num_judged = np.bincount(answers.annotator, answers.sign == 0), np.bincount(answers.annotator)
    # Annotators with as many ties among as many answers are alike: the cost grows with how many kinds there are.
    kinds, kind_of, num_of_kind = np.unique(
        np.stack([num_ties, num_judged]), axis=1, return_inverse=True, return_counts=True
    )
    excess, p_values = np.zeros(len(num_of_kind)), np.ones(len(num_of_kind))
    num_others = len(num_ties) - 1
    if num_others == 0:
        return excess, p_values
    ties, judged = kinds
    lower_rate = np.where(ties > 0, beta.ppf(norm.sf(2), ties, judged - ties + 1), 0.0)
    rank = (num_others + 2) // 2
    for kind in range(len(ties)):
        others = num_of_kind - (np.arange(len(ties)) == kind)
        pairwise = hypergeom.sf(ties[kind] - 1, judged[kind] + judged, ties[kind] + ties, judged[kind])
        p_values[kind] = min(1.0, (num_others - rank + 1) * pick_ranked(pairwise, others, rank))
        excess[kind] = lower_rate[kind] - pick_ranked(ties / judged, others, rank)
    return excess[kind_of], p_values[kind_of]


def pick_ranked(values: Floats, counts: Indices, rank: int) -> float:
    """Return the `rank`-th smallest of `values`, each there `counts` times."""
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(counts[order]), rank)])


def measure_fast_answers(answers: Answers) -> tuple[Floats, Floats]:
    """Test each annotator's rate of fast answers against the others'; returns (excess, p-values), [annotators] each.

    An answer is fast if its time is below `FAST_FRACTION` of the median of the others' median times. Excess 0 and
    p-value 1 without recorded times or other annotators. P-values are those of Fisher's exact test, one-sided.
    """
    num_annotators = int(answers.annotator.max()) + 1
    excess, p_values = np.zeros(num_annotators), np.ones(num_annotators)
    timed = ~np.isnan(answers.seconds)
    annotator, seconds = answers.annotator[timed], answers.seconds[timed]
    counts = np.bincount(annotator, minlength=num_annotators)
    tested = np.flatnonzero(counts)
    if len(tested) < 2:
        return excess, p_values
    limits = np.full(num_annotators, np.nan)
    limits[tested] = FAST_FRACTION * medians_of_others(medians_by_group(annotator, seconds, counts)[tested])
    own_fast = np.bincount(annotator, seconds < limits[annotator], num_annotators)[tested]
    others_fast = np.searchsorted(np.sort(seconds), limits[tested]) - own_fast
    own, others = counts[tested], len(seconds) - counts[tested]
    excess[tested] = own_fast / own - others_fast / others
    p_values[tested] = hypergeom.sf(own_fast - 1, len(seconds), own_fast + others_fast, own)
    return excess, p_values


def medians_by_group(group: Indices, values: Floats, counts: Indices) -> Floats:
    """Return the median of each group's values, [groups]; NaN for an empty one. `counts` are the groups' sizes."""
    ordered = np.append(values[np.lexsort((values, group))], np.nan)
    starts = np.cumsum(counts) - counts
    low, high = (starts + np.maximum(counts - 1, 0) // 2), (starts + counts // 2)
    return np.where(counts > 0, (ordered[low] + ordered[high]) / 2, np.nan)


def medians_of_others(values: Floats) -> Floats:
    """Return for each of two or more values the median of the others."""
    order = np.argsort(values, kind="stable")
    ordered, place = values[order], np.empty(len(values), dtype=int)
    place[order] = np.arange(len(values))
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2
    # Without the value at `place`, those behind it move forward by one.
    return np.asarray((ordered[low + (place <= low)] + ordered[high + (place <= high)]) / 2)


def mean_bias(signs: Floats, weights: Floats | None = None) -> float | None:
    """Return the share of 1 among 1 and -1, minus one half; zeros are left out. None if all are 0, or weigh nothing."""
    nonzero = signs != 0
    if weights is None:
        return float((signs[nonzero] > 0).mean() - 0.5) if nonzero.any() else None
    total = float(weights[nonzero].sum())
    return float(weights[nonzero] @ (signs[nonzero] > 0)) / total - 0.5 if total else None
