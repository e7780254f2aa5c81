"""Confidence intervals of means and rates; bootstraps resample whole clusters, as results of one prompt correlate."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = list[float]
"""[low, high], at the 95% level."""
NUM_RESAMPLES = 2000
MAX_INDICES_IN_MEMORY = 1 << 20


def bootstrap_means(values: ArrayLike, clusters: Sequence[str], seed: int = 0, draws: int = NUM_RESAMPLES) -> Floats:
    """Return the means of `draws` resamples of whole clusters (Field and Welsh 2007), weighted by cluster size."""
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sizes = np.bincount(codes).astype(float)
    sums = np.bincount(codes, weights=np.asarray(values, float))
    generator, means = np.random.default_rng(seed), []
    for block in np.array_split(np.arange(draws), max(1, draws * len(sizes) // MAX_INDICES_IN_MEMORY)):
        resampled = generator.integers(len(sizes), size=(len(block), len(sizes)))
        means.append(sums[resampled].sum(1) / sizes[resampled].sum(1))
    return np.concatenate(means)


def mean_interval(values: ArrayLike, clusters: Sequence[str], seed: int = 0) -> Interval | None:
    """Return the 95% percentile interval of a mean (of a paired difference, if `values` are differences).

    None for a single cluster: all resamples are equal, and an interval of width 0 would suggest certainty.
    """
    if len(set(clusters)) < 2:
        return None
    low, high = np.quantile(bootstrap_means(values, clusters, seed), [0.025, 0.975])
    return [float(low), float(high)]


def rate_interval(values: ArrayLike, clusters: Sequence[str], seed: int = 0) -> Interval:
    """Return the 95% interval of a mean of numbers from 0 to 1.

    If all clusters agree, or there is only one, the bootstrap interval has width 0; then Wilson's interval is used,
    with clusters as trials.
    """
    interval = mean_interval(values, clusters, seed)
    if interval and interval[1] - interval[0] > 1e-12:
        return interval
    return wilson(float(np.mean(np.asarray(values, float))), len(set(clusters)))


def wilson(rate: float, trials: int) -> Interval:
    """Return Wilson's 95% score interval of a rate over independent trials (Wilson 1927).

    >>> [round(bound, 4) for bound in wilson(0.5, 10)]
    [0.2366, 0.7634]
    """
    z = 1.959963984540054
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def t_interval(values: ArrayLike) -> Interval | None:
    """Return Student's 95% interval of a mean, mean ± t s / sqrt(n); None for fewer than two values.

    >>> [round(bound, 4) for bound in t_interval([1.0, 2.0, 3.0])]
    [-0.4841, 4.4841]
    """
    from scipy.special import stdtrit  # takes a part of the judging page's start, which needs `wilson` alone

    numbers = np.asarray(values, float)
    if len(numbers) < 2:
        return None
    half = float(stdtrit(len(numbers) - 1, 0.975) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return [float(numbers.mean()) - half, float(numbers.mean()) + half]


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Return Pearson's correlation of two sequences of equal length; 0 if one is constant."""
    a, b = (np.asarray(values, dtype=float) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm_product = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm_product if norm_product > 0 else 0.0
