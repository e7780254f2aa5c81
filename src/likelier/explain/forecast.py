"""Forecast of a learning curve: the accuracy that more comparisons would bring, from refits on fewer. Numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from likelier.intervals import Floats

EXPONENTS = (-0.5, 0.0, 0.5, 1.0)
"""Power laws that are averaged; 0 is the logarithm."""
SLOPE_MEAN, SLOPE_STD = 0.02, 0.05
"""Prior of the slope: accuracy gained by e times as many comparisons, at the size that there is."""
SPREADS = tuple(0.002 * 1.5 ** np.arange(10))
"""Standard deviations of the measured accuracy at the size that there is, from another draw of the comparisons."""
NUGGETS = (0.0, 0.5, 1.0)
"""Variance by the seed of a training, as a share of that by the draw."""
LEVEL = 0.8


@dataclass(frozen=True)
class CurvePoint:
    """A refit on some comparisons of the run's, and its accuracy on the held-out pairs."""

    size: int
    """Training pairs."""
    order: int
    """Points of one order are nested: the smaller set is a part of the larger one."""
    accuracy: float


@dataclass(frozen=True)
class Forecast:
    """A mixture of normal distributions of the accuracy to be measured with more comparisons."""

    weights: Floats
    means: Floats
    deviations: Floats

    @property
    def mean(self) -> float:
        """Expected accuracy."""
        return float(self.weights @ self.means)

    def quantile(self, probability: float) -> float:
        """Return the accuracy that is undercut with this probability."""
        low, high = (self.means - 8 * self.deviations).min(), (self.means + 8 * self.deviations).max()
        return float(
            brentq(lambda x: self.weights @ norm.cdf((x - self.means) / self.deviations) - probability, low, high)
        )

    @property
    def interval(self) -> list[float]:
        """The central interval of probability `LEVEL`."""
        return [self.quantile((1 - LEVEL) / 2), self.quantile((1 + LEVEL) / 2)]


def forecast_accuracy(points: Sequence[CurvePoint], size: int) -> Forecast:
    """Forecast the accuracy on the same held-out pairs with `size` pairs, among which are all that there are.

    With n0 the largest size, the mean is a - b ((n / n0)^-c - 1) / c (for c = 0: a + b log(n / n0)): a power law whose
    slope in log n is b at n0, with a normal prior, and c averaged over `EXPONENTS`. Around it lie the draw of the
    comparisons and the seed of the training, with the covariance of `compute_kernel`: nested sets err alike, and a
    lucky accuracy at n0 partly stays. Exponent and spread are averaged by the likelihood of the points (Bayesian model
    averaging).
    """
    largest = max(point.size for point in points)
    sizes = np.array([*(point.size for point in points), size], float)
    overlap = count_overlap(points, size, largest)
    accuracies = np.array([point.accuracy for point in points])
    kernel = compute_kernel(sizes / largest, overlap / largest)
    logs, means, deviations = [], [], []
    for exponent, spread, nugget in product(EXPONENTS, SPREADS, NUGGETS):
        relative = sizes / largest
        basis = np.log(relative) if exponent == 0 else -(relative**-exponent - 1) / exponent
        noise = kernel + nugget * np.eye(len(sizes))
        # The accuracy at n0 is anybody's guess, the slope is not.
        covariance = spread**2 * noise + SLOPE_STD**2 * np.outer(basis, basis) + 0.2**2
        log_likelihood, mean, variance = condition(covariance, accuracies, 0.7 + SLOPE_MEAN * basis)
        logs.append(log_likelihood)
        means.append(mean)
        deviations.append(np.sqrt(variance))
    weights = np.exp(np.array(logs) - max(logs))
    return Forecast(weights / weights.sum(), np.array(means), np.array(deviations))


def compute_kernel(sizes: Floats, overlap: Floats) -> Floats:
    """Covariance of accuracies around their mean, 1 at a size of 1: (r_A + r_B - |w_A - w_B|) / 2, r = |w - w_all|.

    Weights fitted to a set A err by a vector of squared length 1 / |A|, and those of two sets differ by one of
    1 / |A| + 1 / |B| - 2 |A and B| / (|A| |B|). An accuracy counts held-out pairs on one side of a boundary: as the
    weights move, so many of them cross it as the distance is, this way or that, which makes the accuracy a Brownian
    motion of the weights (Lévy's, of many parameters): its variance grows with the distance, not with its square.
    """
    inverse = 1 / sizes
    squares = inverse[:, None] + inverse - 2 * overlap / np.outer(sizes, sizes)
    radius = np.sqrt(inverse)
    kernel: Floats = (radius[:, None] + radius - np.sqrt(np.maximum(squares, 0))) / 2
    return kernel


def condition(covariance: Floats, known: Floats, means: Floats) -> tuple[float, float, float]:
    """Return the log-likelihood of normal variables but the last, and its mean and variance given them."""
    inner, cross, residual = covariance[:-1, :-1], covariance[-1, :-1], known - means[:-1]
    factor = np.linalg.cholesky(inner)
    white, towards = np.linalg.solve(factor, residual), np.linalg.solve(factor, cross)
    log_likelihood = -float(white @ white) / 2 - float(np.log(np.diag(factor)).sum())
    return log_likelihood, float(means[-1] + towards @ white), float(covariance[-1, -1] - towards @ towards)


def count_overlap(points: Sequence[CurvePoint], size: int, largest: int) -> Floats:
    """Return how many pairs the sets of two points share, [points + 1, points + 1]; the last set holds all others.

    Sets of different orders share as many as chance lets two draws from the largest set share.
    """
    sizes = np.array([*(point.size for point in points), size], float)
    orders = np.array([*(point.order for point in points), -1])
    nested = (orders[:, None] == orders) | (sizes[:, None] >= largest) | (sizes >= largest)
    return np.where(nested, np.minimum.outer(sizes, sizes), np.outer(sizes, sizes) / largest)


def choose_sizes(largest: int, smallest: int = 20) -> list[int]:
    """Return the sizes to train on: halves of halves of the largest down to an eighth, none below `smallest`."""
    return [size for part in (8, 4, 2) if (size := largest // part) >= smallest]
