"""Ratings by people with thresholds of their own who tire: how well three readings of them find the true scores.

`python bench/raters.py [--seeds 20] [--people 8] [--each 40] [--responses 120]`. A response has a normal score of
standard deviation 1.5 log-odds. A person feels it with logistic noise and cuts it at six thresholds into a rating from
1 to 7; the first threshold and the logarithms of the gaps are normal about common ones. A tired person's noise grows
evenly from 1 to 1 + fatigue over their ratings. "Unequal" people rate other responses each: the first one the lowest
scores, the last one the highest. Prints the correlation of true scores with the mean rating, with the mean of ratings
standardised for each person, with the graded response model of common thresholds, and with the one that is used, of
everybody's own: means and standard deviations over seeds, and the gain of the last over each of the others.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from likelier.feedback.ordinal import fit_ratings
from likelier.intervals import Floats, t_interval

SPREAD, LEVELS = 1.5, 7
COMMON = np.linspace(-2.5, 2.5, LEVELS - 1)


@dataclass(frozen=True)
class Raters:
    """Standard deviations of people's first threshold and of the logarithms of their gaps, and what else they do."""

    shift: float = 0.0
    gap: float = 0.0
    fatigue: float = 0.0
    unequal: bool = False


KINDS = {
    "common thresholds": Raters(),
    "own thresholds": Raters(1.0, 0.5),
    "own thresholds, half as far apart": Raters(0.5, 0.25),
    "own thresholds, noise grows threefold": Raters(1.0, 0.5, 2.0),
    "common thresholds, noise grows threefold": Raters(0.0, 0.0, 2.0),
    "own thresholds, unequal responses": Raters(1.0, 0.5, unequal=True),
    "own thresholds, unequal, noise grows threefold": Raters(1.0, 0.5, 2.0, True),
}


def draw(kind: Raters, people: int, each: int, responses: int, generator) -> tuple[Floats, ...]:
    """Return the true scores [responses], and response, person and category of every rating."""
    scores = SPREAD * generator.normal(size=responses)
    order = np.argsort(scores)
    rated, raters, categories = [], [], []
    for person in range(people):
        start = (responses - 2 * each) * person // max(people - 1, 1) if kind.unequal else 0
        among = order[start : start + 2 * each] if kind.unequal else order
        chosen = generator.choice(among, min(each, len(among)), replace=False)
        gaps = np.diff(COMMON) * np.exp(kind.gap * generator.normal(size=LEVELS - 2))
        first = COMMON[0] + kind.shift * generator.normal()
        thresholds = first + np.concatenate([[0.0], gaps.cumsum()])
        noise = generator.logistic(size=len(chosen)) * (1 + kind.fatigue * np.linspace(0, 1, len(chosen)))
        rated += chosen.tolist()
        raters += [person] * len(chosen)
        categories += (np.greater.outer(scores[chosen] + noise, thresholds)).sum(1).tolist()
    return scores, np.array(rated), np.array(raters), np.array(categories)


def average(values: Floats, rated, count: int) -> Floats:
    """Return the mean of each response's values; NaN where there are none."""
    sums, counts = np.bincount(rated, values, count), np.bincount(rated, minlength=count)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def standardise(rated, raters, categories, count: int) -> Floats:
    """Return each response's mean of ratings of which everybody's have mean 0 and variance 1."""
    values = categories.astype(float)
    for person in np.unique(raters):
        own = raters == person
        values[own] = (values[own] - values[own].mean()) / max(values[own].std(), 1e-9)
    return average(values, rated, count)


def fit(rated, raters, categories, count: int) -> Floats:
    """Return the scores of the graded response model; 0 is what it says of a response without ratings."""
    known, places = np.unique(rated, return_inverse=True)
    scores = np.full(count, np.nan)
    scores[known] = fit_ratings(places, raters, categories, LEVELS).scores.mean
    return scores


READINGS: dict[str, Callable[..., Floats]] = {
    "mean": lambda rated, raters, categories, count: average(categories.astype(float), rated, count),
    "standardised": standardise,
    "common": lambda rated, raters, categories, count: fit(rated, np.zeros_like(raters), categories, count),
    "own": fit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--responses", type=int, default=120)
    given = parser.parse_args()
    print(f"| raters | {' | '.join(READINGS)} | gain over the mean | over standardised | over common |")
    print("|---" * 8 + "|")
    for name, kind in KINDS.items():
        found = []
        for seed in range(given.seeds):
            generator = np.random.default_rng([seed, given.people, given.each])
            scores, *ratings = draw(kind, given.people, given.each, given.responses, generator)
            read = [reading(*ratings, given.responses) for reading in READINGS.values()]
            found.append([np.corrcoef(scores[~np.isnan(each)], each[~np.isnan(each)])[0, 1] for each in read])
        each = np.array(found)
        cells = [f"{each[:, column].mean():.3f} ({each[:, column].std(ddof=1):.3f})" for column in range(len(READINGS))]
        for column in range(len(READINGS) - 1):
            gain = each[:, -1] - each[:, column]
            low, high = t_interval(gain) or (np.nan, np.nan)
            cells.append(f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
