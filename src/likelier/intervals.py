"""How sure a mean is: bootstrap intervals that draw whole clusters, since what belongs to one prompt is alike."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Interval = list[float]
"""[low, high], of the 95% level."""
DRAWS = 2000
MAX_DRAWN_AT_ONCE = 1 << 20


def bootstrap_means(values: ArrayLike, clusters: Sequence[str], seed: int = 0, draws: int = DRAWS) -> Floats:
    """Means of `draws` resamples of whole clusters (Field and Welsh 2007), each cluster weighed by its size."""
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sizes = np.bincount(codes).astype(float)
    sums = np.bincount(codes, weights=np.asarray(values, float))
    random, found = np.random.default_rng(seed), []
    for block in np.array_split(np.arange(draws), max(1, draws * len(sizes) // MAX_DRAWN_AT_ONCE)):
        drawn = random.integers(len(sizes), size=(len(block), len(sizes)))
        found.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    return np.concatenate(found)


def mean_interval(values: ArrayLike, clusters: Sequence[str], seed: int = 0) -> Interval:
    """95% percentile interval of a mean, or of a difference where `values` are differences of pairs."""
    low, high = np.quantile(bootstrap_means(values, clusters, seed), [0.025, 0.975])
    return [float(low), float(high)]


def rate_interval(values: ArrayLike, clusters: Sequence[str], seed: int = 0) -> Interval:
    """95% interval of a mean of numbers from 0 to 1.

    Where all clusters agree a bootstrap has no width: then Wilson's interval, with clusters as trials.
    """
    low, high = mean_interval(values, clusters, seed)
    if high - low > 1e-12:
        return [low, high]
    return wilson(float(np.mean(np.asarray(values, float))), len(set(clusters)))


def wilson(rate: float, trials: int) -> Interval:
    """Wilson's 95% interval of a rate seen in independent trials (Wilson 1927).

    >>> [round(bound, 4) for bound in wilson(0.5, 10)]
    [0.2366, 0.7634]
    """
    z = 1.959963984540054
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def t_interval(values: ArrayLike) -> Interval | None:
    """Student's 95% interval of a mean of few independent numbers: mean ± t s / sqrt(n); None for fewer than two.

    >>> [round(bound, 4) for bound in t_interval([1.0, 2.0, 3.0])]
    [-0.4841, 4.4841]
    """
    numbers = np.asarray(values, float)
    if len(numbers) < 2:
        return None
    half = float(stdtrit(len(numbers) - 1, 0.975) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return [float(numbers.mean()) - half, float(numbers.mean()) + half]


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation of two sequences of equal length; 0 where one of them does not vary."""
    a, b = (np.asarray(values, dtype=float) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0
