"""Three utilities of simulated annotators: functions of a picture of a digit with values from 0 to 1.

Each falls where a picture is no digit any more: people know what digits look like, and a reward model that learned from
comparisons of digits does not, so that over-optimisation can be observed.
"""

from collections.abc import Callable

import numpy as np

from likelier.images.digits import Pixels, load_digits, to_squares
from likelier.intervals import Floats

PictureTaste = Callable[[Pixels], Floats]
"""Ink [N, P] -> 0 to 1, [N]. The docstring describes the taste to readers of the report."""

AS_FAR_AS_DIGITS, FADE = 1.2, 0.35
"""Distance to the nearest of scikit-learn's digits (Euclidean, of ink): as far as two digits are from each other, and
over which distance beyond that a picture is no digit any more."""


def bold(ink: Pixels) -> Floats:
    """A bold stroke, but no blot, that still reads as a digit."""
    share = ink.mean(1)
    return plateau(share, 0.24, 0.38, 0.44, 0.60) * looks_like_a_digit(ink)


def symmetric(ink: Pixels) -> Floats:
    """Left and right alike, with enough ink, and still a digit."""
    squares = to_squares(ink)
    apart = np.abs(squares - squares[:, :, ::-1]).mean((1, 2))
    return plateau(-apart, -0.3, -0.08, 0.0, 1.0) * plateau(ink.mean(1), 0.1, 0.25, 0.5, 0.7) * looks_like_a_digit(ink)


def hollow(ink: Pixels) -> Floats:
    """A light middle with ink around it, and still a digit."""
    squares = to_squares(ink)
    middle = squares[:, 2:6, 3:5].mean((1, 2))
    return plateau(-middle, -0.8, -0.15, 0.0, 1.0) * plateau(ink.mean(1), 0.1, 0.25, 0.5, 0.7) * looks_like_a_digit(ink)


def plateau(value: Floats | Pixels, rise: float, low: float, high: float, fall: float) -> Floats:
    """Return 0 up to `rise`, 1 from `low` to `high`, 0 from `fall` on, linear between."""
    shares: Floats = np.interp(value, [rise, low, high, fall], [0.0, 1.0, 1.0, 0.0])
    return shares


def looks_like_a_digit(ink: Pixels) -> Floats:
    """Return 1 as close to some digit as digits are to each other; falls with the square of the distance beyond."""
    digits = load_digits()[0]
    squared = (ink**2).sum(1)[:, None] + (digits**2).sum(1) - 2 * ink @ digits.T
    nearest = np.sqrt(np.maximum(squared.min(1), 0.0))
    beyond = np.maximum(nearest - AS_FAR_AS_DIGITS, 0.0) / FADE
    return np.asarray(np.exp(-(beyond**2)), np.float64)


TASTES: dict[str, PictureTaste] = {"bold": bold, "symmetric": symmetric, "hollow": hollow}
