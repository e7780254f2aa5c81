"""95% confidence intervals of shares and means over clusters of rows, as results of one prompt correlate."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, logsumexp, stdtrit

Floats = NDArray[np.float64]
Indices = NDArray[np.int_]
Interval = list[float]
"""[low, high], at the 95% level."""

ALPHA = 0.05
GRID = 500
"""Means that a confidence sequence tries."""
BETS = 0.9 * 2.0 ** (-np.arange(17) / 2)
"""What a bettor loses at worst at a number, as a share of a part of the capital."""
FREEDOM_PER_CLUSTER = 1.2
"""Degrees of freedom of a variance for each cluster that carries it; see `share_interval`.

Of 2, 1.5, 1.2 and 1, the largest with 93% coverage in all of `python bench/feedback.py intervals`.
"""


def rate_interval(values: ArrayLike, clusters: Sequence[str], weights: ArrayLike | None = None) -> Interval | None:
    """Return the interval of a mean of numbers from 0 to 1; None for a single cluster. See `share_interval`.

    `weights` [N] are inverse probabilities of inclusion: the mean is Hajek's, sum(w x) / sum(w), the variance that of a
    ratio of clusters' sums, and the rows count as Kish's (sum w)^2 / sum w^2 at most.

    >>> [round(bound, 4) for bound in rate_interval([1, 1, 1, 1], ["a", "b", "c", "d"])]  # 0.025 ** (1 / 4)
    [0.3976, 1.0]
    """
    numbers = np.asarray(values, float)
    if weights is not None:
        return weighted_rate_interval(numbers, clusters, np.asarray(weights, float))
    sums, sizes = sum_clusters(numbers, clusters)
    rate = float(np.clip(sums.sum() / sizes.sum(), 0, 1))
    # Rows of a cluster never know more than independent ones. Of zeros and ones the cap is the number of rows, as in
    # Korn and Graubard; where there are ties or other fractions, rows vary less than zeros and ones of the same mean.
    variance = float(numbers.var())
    cap = len(numbers) * rate * (1 - rate) / variance if variance > 0 else float(len(numbers))
    return share_interval(rate, jackknife_deviations(sums, sizes), sizes, len(numbers), cap)


def weighted_rate_interval(numbers: Floats, clusters: Sequence[str], weights: Floats) -> Interval | None:
    """Return the interval of Hajek's mean of numbers from 0 to 1; see `rate_interval`."""
    sums, sizes = sum_clusters(numbers * weights, clusters)[0], sum_clusters(weights, clusters)[0]
    rate = float(np.clip(sums.sum() / sizes.sum(), 0, 1))
    num_rows = float(weights.sum() ** 2 / (weights @ weights))
    variance = float(weights @ (numbers - rate) ** 2 / weights.sum())
    cap = num_rows * rate * (1 - rate) / variance if variance > 0 else num_rows
    return share_interval(rate, jackknife_deviations(sums, sizes), sizes, max(round(num_rows), 2), cap)


def mean_interval(values: ArrayLike, clusters: Sequence[str]) -> Interval | None:
    """Return the interval of a mean (of a paired difference, if `values` are differences) by Student's t over clusters.

    Of clusters of equal size: mean ± t s / sqrt(C), with s the standard deviation of the C cluster means and C - 1
    degrees of freedom. Of unequal ones the standard error is the delete-one-cluster jackknife's, larger than that of
    the linearised ratio, which is too small where one cluster holds much of the rows, and the degrees of freedom are
    fewer (see `count_freedom`). None for a single cluster, and
    where the clusters' means are all equal: an interval of width 0 would suggest certainty.

    >>> [round(bound, 4) for bound in mean_interval([1.0, 2.0, 3.0], ["a", "b", "c"])]
    [-0.4841, 4.4841]
    """
    numbers = np.asarray(values, float)
    sums, sizes = sum_clusters(numbers, clusters)
    if len(sizes) < 2:
        return None
    variance = float((jackknife_deviations(sums, sizes) ** 2).sum())
    if variance <= 1e-25 * float(np.abs(numbers).max()) ** 2:  # of rounding alone
        return None
    return student_interval(float(sums.sum() / sizes.sum()), variance, count_freedom(sizes))


def student_interval(mean: float, variance: float, freedom: float) -> Interval | None:
    """Return Student's interval of a mean, given the variance of its estimate; None if that is 0."""
    if variance <= 0:
        return None
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return [mean - half, mean + half]


def t_interval(values: ArrayLike) -> Interval | None:
    """Return Student's interval of a mean of independent values; None for fewer than two, or if all are equal."""
    return mean_interval(values, [str(number) for number in range(np.size(values))])


def sum_clusters(values: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the sum of the values of each cluster, and how many there are, [clusters] each."""
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return np.bincount(codes, weights=values).astype(float), np.bincount(codes).astype(float)


def jackknife_deviations(sums: Floats, sizes: Floats) -> Floats:
    """Return each cluster's deviation, [C], whose squares add up to the delete-one-cluster jackknife's variance.

    Without cluster c the ratio r = sum(sums) / sum(sizes) of N = sum(sizes) changes by (sums_c - r sizes_c) /
    (N - sizes_c). Source: Efron and Stein (1981); of equal clusters the same as the linearised variance.
    """
    if len(sizes) < 2:
        return np.zeros(len(sizes))
    ratio, total = sums.sum() / sizes.sum(), sizes.sum()
    deviations: Floats = (sums - ratio * sizes) / (total - sizes) * math.sqrt((len(sizes) - 1) / len(sizes))
    return deviations


def count_freedom(sizes: Floats) -> float:
    """Return the degrees of freedom of the jackknife's variance by Satterthwaite, C - 1 for clusters of equal size.

    Of independent rows the totals' deviations have the covariance S = diag(n) - n n' / N, and with the weights w =
    1 / (N - n)^2 of the jackknife d = trace(w S)^2 / trace((w S)^2). Source: Bell and McCaffrey (2002).
    """
    total = sizes.sum()
    weights = 1 / (total - sizes) ** 2
    diagonal, outer = weights * sizes * (1 - sizes / total), weights * sizes**2 / total
    squares = float((diagonal**2).sum() + outer.sum() ** 2 - (outer**2).sum())
    return max(1.0, float(diagonal.sum()) ** 2 / squares)


def share_interval(
    rate: float, deviations: Floats, sizes: Floats, num_rows: int, cap: float, variance: float | None = None
) -> Interval | None:
    """Return Korn and Graubard's interval of a share: Clopper and Pearson's at an effective number of trials.

    n* = rate (1 - rate) / v * (t_{rows - 1} / t_d)^2, at most `cap`, with v the sum of the squared `deviations` of the
    C clusters (see `jackknife_deviations`) and t_d Student's 97.5% point; n* is C where v is 0. None for one cluster.
    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data".

    They take d = C - 1. Near 0 and 1 a few clusters hold all that varies, v is often far too small, and 50 clusters
    of rate 0.95 were covered in 0.87 to 0.93: so d is at most 1.2 times the number of clusters that carry the variance,
    v^2 / sum of deviations^4. This never takes n* below what clusters of equal rows would be worth, Kish's
    (sum of sizes)^2 / sum of sizes^2, where Korn and Graubard's is above. A `variance` that is no sum of squares, of
    clusters that cross, is given beside the deviations that it is made of.
    """
    num_clusters = len(sizes)
    if num_clusters < 2:
        return None
    squares = deviations**2
    variance = float(squares.sum()) if variance is None else variance
    if variance <= 1e-25:
        return clopper_pearson(rate, num_clusters)
    carrying = variance**2 / float((squares**2).sum())
    freedom = np.array([min(max(FREEDOM_PER_CLUSTER * carrying, 1.0), len(deviations) - 1), num_clusters - 1])
    trials = rate * (1 - rate) / variance * (stdtrit(max(num_rows - 1, 1), 0.975) / stdtrit(freedom, 0.975)) ** 2
    careful, plain = np.minimum(trials, cap)
    return clopper_pearson(rate, max(careful, min(plain, sizes.sum() ** 2 / float((sizes**2).sum()))))


def clopper_pearson(rate: float, trials: float) -> Interval:
    """Return Clopper and Pearson's exact interval of a rate over independent trials, of which there may be 2.5.

    >>> [round(bound, 4) for bound in clopper_pearson(0.5, 10)]
    [0.1871, 0.8129]
    """
    successes, failures = rate * trials, (1 - rate) * trials
    low = float(betaincinv(successes, failures + 1, 0.025)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 0.975)) if failures > 0 else 1.0
    return [low, high]


def confidence_sequence(values: ArrayLike, looks: Sequence[int] | None = None) -> Floats:
    """Return the interval of a mean after so many of the N numbers from 0 to 1, [looks, 2]: 95% for all together.

    With this probability the mean lies in every interval, so that whoever watches may stop at any time, for whatever
    reason; by default there is a look after each number. The numbers need a common mean given the earlier ones: one of
    each cluster. An interval excludes the means against which a bettor has ever had twenty times what they began with
    (see `log_capital`), so that each lies within the one before it.

    >>> [round(float(bound), 3) for bound in confidence_sequence([1.0] * 20)[-1]]
    [0.711, 1.0]
    """
    numbers, means = np.asarray(values, float), (np.arange(GRID) + 0.5) / GRID
    ends = np.arange(1, len(numbers) + 1) if looks is None else np.asarray(looks, int)
    intervals = np.tile([0.0, 1.0], (len(ends), 1))
    if not len(ends):
        return intervals
    tally = count_values(numbers, ends)
    most = np.stack([log_capital(*tally, mean) for mean in means], axis=1)
    is_in = np.maximum.accumulate(most, axis=0) < math.log(1 / ALPHA)
    rows = np.flatnonzero(is_in.any(axis=1))
    first, last = is_in[rows].argmax(axis=1), GRID - 1 - is_in[rows, ::-1].argmax(axis=1)
    intervals[rows, 0] = np.maximum(0, first - 0.5) / GRID  # the next mean of the grid, which is out
    intervals[rows, 1] = np.minimum(GRID, last + 1.5) / GRID
    return intervals


def count_values(values: Floats, ends: Indices) -> tuple[Floats, Indices]:
    """Return the U different values, and how often each stands among the first so many, [ends, U]."""
    unique, codes = np.unique(values, return_inverse=True)
    return unique, np.cumsum(codes[:, None] == np.arange(len(unique)), axis=0)[ends - 1]


def log_capital(unique: Floats, counts: Indices, mean: float) -> Floats:
    """Return the log of what a bettor against a mean, who began with 1, has after such `counts` of numbers, [looks].

    At each number x, a part of the capital that began as w_j grows by 1 + b_j (x - mean), whose expectation is 1 under
    this mean: the bets b_j lose from 0.9 to 0.003 of the part at worst, half of them if x is above the mean and half if
    it is below, and all w_j are equal. So the sum is a martingale if the mean is the true one, and reaches 20 with a
    probability of at most 1 in 20 (Ville's inequality). Source: betting on bounded means, Waudby-Smith and Ramdas
    (2024), with a mixture of constant bets in the place of bets that follow the numbers: it excludes a mean sooner.
    """
    bets = np.concatenate([BETS / mean, -BETS / (1 - mean)])
    logs: Floats = logsumexp(counts @ np.log1p((unique[:, None] - mean) * bets), axis=1) - math.log(len(bets))
    return logs


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Return Pearson's correlation of two sequences of equal length; 0 if one is constant."""
    a, b = (np.asarray(values, dtype=float) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm_product = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm_product if norm_product > 0 else 0.0
