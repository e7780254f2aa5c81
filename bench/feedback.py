"""Simulations of feedback with the truth known: what the intervals, the consensus and the check claim, and what is so.

`python bench/feedback.py intervals [--draws 2000] [--seed 0]` prints how often 95% intervals hold the truth.
"""

import argparse
from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.agreement import AgreementTable
from likelier.intervals import mean_interval, rate_interval

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]
CLUSTERS, RATES, CORRELATIONS = (5, 20, 50), (0.5, 0.8, 0.95), (0.0, 0.2, 0.5)
SIZES = ("1", "5", "1 to 9", "lognormal")


def draw_sizes(kind: str, count: int, generator: np.random.Generator) -> Sizes:
    """Draw the number of rows of each cluster: a constant, uniform, or lognormal (many of 1 or 2, some of 20)."""
    if kind == "1 to 9":
        return generator.integers(1, 10, count)
    if kind == "lognormal":
        return 1 + generator.poisson(np.exp(generator.normal(1, 1, count)))
    return np.full(count, int(kind))


def draw_beta(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros and ones whose clusters have rates of a beta distribution, correlated within a cluster."""
    if correlation == 0:
        return (generator.random(sizes.sum()) < rate).astype(float)
    strength = 1 / correlation - 1
    rates = generator.beta(rate * strength, (1 - rate) * strength, len(sizes))
    return (generator.random(sizes.sum()) < np.repeat(rates, sizes)).astype(float)


def draw_copies(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros and ones, each with probability sqrt(correlation) a copy of one draw of its cluster."""
    own = generator.random(sizes.sum()) < rate
    shared = np.repeat(generator.random(len(sizes)) < rate, sizes)
    return np.where(generator.random(sizes.sum()) < np.sqrt(correlation), shared, own).astype(float)


def draw_ties(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros, halves and ones of mean `rate`: means of two draws of `draw_beta`."""
    return (draw_beta(rate, correlation, sizes, generator) + draw_beta(rate, correlation, sizes, generator)) / 2


def draw_normal(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw normal numbers of mean `rate` and variance 1, correlated within a cluster."""
    shared = np.repeat(generator.normal(size=len(sizes)), sizes)
    return rate + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * generator.normal(size=sizes.sum())


Draw = Callable[[float, float, Sizes, np.random.Generator], Floats]


def cover_mean(draw: Draw, cell: tuple[str, int, float, float], draws: int, seed: int) -> tuple[float, float]:
    """Return how often the interval of a mean holds it, and its mean width; `cell`: sizes, clusters, correlation, rate.

    Without an interval a draw counts as covered, of width 1: nothing was claimed.
    """
    kind, count, correlation, rate = cell
    generator = np.random.default_rng(seed)
    covered, width = 0, 0.0
    for _ in range(draws):
        sizes = draw_sizes(kind, count, generator)
        clusters = np.repeat(np.arange(count).astype(str), sizes).tolist()
        values = draw(rate, correlation, sizes, generator)
        low, high = (mean_interval if draw is draw_normal else rate_interval)(values, clusters) or (0.0, 1.0)
        covered, width = covered + (low <= rate <= high), width + high - low
    return covered / draws, width / draws


def cover_alpha(items: int, annotators: int, shape: float, draws: int, seed: int) -> tuple[float, float, float]:
    """Return the true alpha of two labels, how often its interval holds it, and its mean width.

    The probability of the first label is of a symmetric beta distribution in each item: the smaller `shape`, the more
    often all agree. Draws where all labels are equal have no alpha and are left out.
    """
    generator = np.random.default_rng(seed)
    alpha = 1 - 2 * shape / (2 * shape + 1)
    intervals = []
    for _ in range(draws):
        first = generator.binomial(annotators, generator.beta(shape, shape, items)).astype(float)
        table = AgreementTable(np.stack([first, annotators - first], axis=1), np.arange(2.0))
        intervals.append(table.alpha_interval())
    bounds = np.array([interval for interval in intervals if interval])
    return (
        alpha,
        float(((bounds[:, 0] <= alpha) & (alpha <= bounds[:, 1])).mean()),
        float(np.ptp(bounds, axis=1).mean()),
    )


def print_means(draws: int, seed: int) -> None:
    """Print coverage and width for each way to draw, kind and number of clusters, and rate."""
    cells = list(product(CLUSTERS, RATES))
    print(
        "| drawn | rows a cluster | correlation | " + " | ".join(f"{count} at {rate}" for count, rate in cells) + " |"
    )
    print("|---" * (3 + len(cells)) + "|")
    ways: dict[str, Draw] = {"beta": draw_beta, "copies": draw_copies, "halves": draw_ties, "normal": draw_normal}
    for name, draw in ways.items():
        worst = 1.0
        for kind, correlation in product(SIZES, CORRELATIONS):
            if kind == "1" and correlation:
                continue
            shown = []
            for count, rate in cells:
                coverage, width = cover_mean(draw, (kind, count, correlation, rate), draws, seed)
                worst = min(worst, coverage)
                shown.append(f"{coverage:.3f} ({width:.2f})")
            print(f"| {name} | {kind} | {correlation} | " + " | ".join(shown) + " |", flush=True)
        print(f"least coverage of {name}: {worst:.3f}")


def print_alphas(draws: int, seed: int) -> None:
    """Print the coverage and width of the interval of alpha."""
    for items, annotators, shape in product(CLUSTERS, (2, 5), (1.0, 0.2, 0.05)):
        alpha, coverage, width = cover_alpha(items, annotators, shape, draws, seed)
        print(f"alpha {alpha:.2f}  {items} items of {annotators} labels: {coverage:.3f} ({width:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    intervals = verbs.add_parser("intervals", help="coverage and width of intervals of shares, means and alpha")
    intervals.add_argument("--draws", type=int, default=2000, help="draws of each cell")
    intervals.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print_means(given.draws, given.seed)
    print_alphas(given.draws, given.seed)


if __name__ == "__main__":
    main()
