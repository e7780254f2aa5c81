"""Drift: do a person's skill, lean to a side and speed change from their first answers to their last ones?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from likelier.feedback.audit import SKILL, Answers, ChoiceFit
from likelier.feedback.effects import Effect, find_typical, measure_effect, step_towards

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Drift(NamedTuple):
    """Changes of each annotator over their answers, beyond the panel's own."""

    skill: Effect
    """Of the skill, from the first answer to the last, on the scale of a typical annotator's 1."""
    side: Effect
    """Of the lean to the left, in log-odds."""
    speed: Floats
    """[annotators]: seconds of the last answer as a multiple of those of the first; NaN if unknown."""
    speed_interval: Floats
    """[annotators, 2]"""


def measure_drift(fit: ChoiceFit, answers: Answers) -> Drift:
    """Return how each annotator changes; answers are in chronological order."""
    time = place_in_sequence(answers.annotator)
    progress = time[fit.rows]
    typical_logit = fit.design[:, SKILL]
    by_skill = progress * typical_logit
    typical = find_typical(*step_towards(fit, by_skill))  # everybody tires: the panel's own change is no finding
    skill = measure_effect(fit, by_skill, typical * by_skill)
    side = measure_effect(fit, progress, np.zeros(len(progress)))
    return Drift(skill, side, *measure_speed(answers, time))


def place_in_sequence(annotator: Indices) -> Floats:
    """Return the place of each answer among its annotator's own, from -0.5 for the first to 0.5 for the last, [N]."""
    counts = np.bincount(annotator)
    order = np.argsort(annotator, kind="stable")
    place = np.empty(len(annotator))
    place[order] = np.arange(len(annotator)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(place / np.maximum(counts[annotator] - 1, 1) - 0.5)


def measure_speed(answers: Answers, time: Floats) -> tuple[Floats, Floats]:
    """Return the slope of each annotator's log seconds over their answers as a ratio, and its interval [annotators, 2].

    By least squares, with Student's t; NaN for fewer than ten timed answers.
    """
    timed = np.flatnonzero(answers.seconds > 0)  # False for NaN
    annotator, count = answers.annotator[timed], int(answers.annotator.max()) + 1
    x, y = time[timed], np.log(answers.seconds[timed])
    n = np.bincount(annotator, minlength=count)

    def centre(values: Floats) -> Floats:
        return np.asarray(values - (np.bincount(annotator, values, count) / np.maximum(n, 1))[annotator])

    x, y = centre(x), centre(y)
    squares = np.bincount(annotator, x * x, count)
    enough = (n >= 10) & (squares > 0)
    slope = np.divide(np.bincount(annotator, x * y, count), squares, out=np.full(count, np.nan), where=enough)
    left = np.bincount(annotator, (y - np.nan_to_num(slope)[annotator] * x) ** 2, count)
    error = np.sqrt(np.divide(left / np.maximum(n - 2, 1), squares, out=np.full(count, np.nan), where=enough))
    half = stdtrit(np.maximum(n - 2, 1), 0.975) * error
    half[half == 0] = np.nan  # times that lie on a line: nothing tells how far they vary
    return np.exp(slope), np.exp(np.stack([slope - half, slope + half], axis=1))
