"""Lean to a style: does a person take lists, bold words, headings, exclamation marks or hedges beyond the consensus?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from likelier.feedback.audit import ChoiceFit
from likelier.feedback.effects import Effect, find_typical, measure_effect, step_towards

Floats = NDArray[np.float64]
MIN_DIFFERING = 20
"""Answers to comparisons whose sides differ in a feature that it takes to test a person's lean to it."""


class StyleLean(NamedTuple):
    """Each annotator's strongest lean, beyond the consensus, their own length bias and the panel's lean."""

    feature: NDArray[np.intp]
    """[annotators]: place in `FEATURES`"""
    effect: Effect
    """In log-odds of the side that has more of it; below 0 of the side that has less."""
    p_values: Floats
    """[annotators]: two-sided, times the number of features that were tested (Bonferroni); 1 if none was."""


def measure_style(fit: ChoiceFit, style: NDArray[np.int8]) -> StyleLean:
    """Return each annotator's lean to the feature that stands out most; `style` is of the fitted answers, [D, F]."""
    count, num_features = len(fit.coefficients), style.shape[1]
    z, typical = np.zeros((count, num_features)), np.zeros(num_features)
    for feature in np.flatnonzero(style.any(axis=0)):
        covariate = style[:, feature].astype(float)
        size, information = step_towards(fit, covariate)
        typical[feature] = find_typical(size, information)
        differing = np.bincount(fit.annotator, covariate != 0, count)
        tested = (differing >= MIN_DIFFERING) & (information > 0)
        z[tested, feature] = ((size - typical[feature]) * np.sqrt(information))[tested]
    chosen = np.abs(z).argmax(axis=1)
    covariate = style[np.arange(len(style)), chosen[fit.annotator]].astype(float)
    effect = measure_effect(fit, covariate, typical[chosen[fit.annotator]] * covariate)
    num_tested = (z != 0).sum(axis=1)
    p_values = np.where(num_tested > 0, np.minimum(1.0, 2 * num_tested * norm.sf(np.abs(effect.z))), 1.0)
    return StyleLean(chosen, effect, p_values)
