"""Tests of further influences on each annotator's answers, beside side, skill and length: style, drift."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.audit import (
    EFFECT_SD,
    SKILL,
    ChoiceFit,
    fit_logistic,
    signed_likelihood_roots,
    weighted_median,
)

Floats = NDArray[np.float64]
SCREEN = 2.5
"""Influences with a score test beyond this many standard errors are fitted; the others are no news either way."""
MIN_INFORMATION = 1.0
"""Of the people whose influences make the typical one: as much as four answers at even odds say."""


class Effect(NamedTuple):
    """An influence on each annotator's answers, in log-odds, [annotators] each."""

    size: Floats
    error: Floats
    """Standard error; infinite where the answers say nothing."""
    z: Floats
    """Signed root of the likelihood ratio; standard normal without the influence."""


def step_towards(fit: ChoiceFit, covariate: Floats) -> tuple[Floats, Floats]:
    """Return one Newton step towards the coefficients of a further column, and their information, [annotators] each.

    U / I with the score U = sum (left - p) x and the information I = sum w x^2 that is not explained by the three
    columns of the fit (Rao's efficient score test, U / sqrt(I) being standard normal without the influence).
    """
    annotator, count, p = fit.annotator, len(fit.coefficients), fit.p_left
    weighted = p * (1 - p) * covariate
    cross = np.stack([np.bincount(annotator, weighted * column, count) for column in fit.design.T], axis=1)
    explained = np.linalg.solve(fit.curvature, cross[:, :, None])[:, :, 0]
    information = np.bincount(annotator, weighted * covariate, count) - (cross * explained).sum(axis=1)
    information = np.maximum(information, 0.0)
    score = np.bincount(annotator, (fit.left - p) * covariate, count)
    return score / (information + 1 / EFFECT_SD**2), information


def find_typical(size: Floats, information: Floats) -> float:
    """Return the median annotator's influence, nobody weighing more than the median one; 0 if too little is known."""
    known = information >= MIN_INFORMATION
    if known.sum() < 3:
        return 0.0
    return weighted_median(size[known], np.minimum(information[known], np.median(information[known])))


def measure_effect(fit: ChoiceFit, covariate: Floats, typical: Floats) -> Effect:
    """Return each annotator's influence of a covariate, [D], beyond what is `typical` of the panel, [D] in log-odds.

    Whoever may have a large one is fitted anew with it and without: the score test alone is wrong where answers are
    nearly all alike.
    """
    offset = fit.design.copy()
    offset[:, SKILL] += typical
    fit = ChoiceFit(fit.rows, fit.annotator, fit.left, offset, fit.coefficients)
    size, information = step_towards(fit, covariate)
    error = np.full(len(size), np.inf)
    np.divide(1, np.sqrt(information + 1 / EFFECT_SD**2), out=error, where=information > 0)
    z = size * (information + 1 / EFFECT_SD**2) / np.sqrt(np.maximum(information, 1e-12)) * (information > 0)
    candidates = np.flatnonzero(np.abs(z) > SCREEN)
    if len(candidates):
        number = np.full(len(size), -1)
        number[candidates] = np.arange(len(candidates))
        rows = np.flatnonzero(number[fit.annotator] >= 0)
        design = np.column_stack([offset[rows], covariate[rows]])
        annotator, left = number[fit.annotator[rows]], fit.left[rows]
        with_it, height = fit_logistic(design, left, annotator, len(candidates))
        null_height = fit_logistic(design, left, annotator, len(candidates), {design.shape[1] - 1: 0.0})[1]
        size[candidates] = with_it[:, -1]
        z[candidates] = signed_likelihood_roots(with_it[:, -1], height, null_height)
    return Effect(size, error, z)
