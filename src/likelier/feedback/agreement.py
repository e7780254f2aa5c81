"""How far people agree beyond chance: Krippendorff's alpha with an interval, Cohen's and Fleiss' kappa."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]
"""[items, labels]: how many annotators gave an item each label."""

CHUNK = 20_000_000
"""Numbers held at a time while resampling (160 MB)."""


def count_labels(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> Counts:
    """The count table of three 1-D sequences of equal length; of an annotator's repeats on an item the first counts."""
    if not len(items) == len(annotators) == len(labels):
        lengths = (len(items), len(annotators), len(labels))
        raise ValueError(f"items, annotators and labels must be equally long, got {lengths}")
    first: dict[tuple[Any, Any], Any] = {}
    for item, annotator, label in zip(items, annotators, labels, strict=True):
        first.setdefault((item, annotator), label)
    rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
    columns = {label: column for column, label in enumerate(dict.fromkeys(labels))}
    counts = np.zeros((len(rows), len(columns)))
    for (item, _), label in first.items():
        counts[rows[item], columns[label]] += 1
    return counts


def krippendorff_alpha(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> float | None:
    """Krippendorff's alpha for nominal labels: 1 - observed / expected disagreement, over items judged at least twice.

    None where it has no meaning: no item was judged by two annotators, or only one label was ever given.
    Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C.
    """
    counts = pairable(count_labels(items, annotators, labels))
    alpha = float(alphas(counts, np.ones((1, len(counts))))[0])
    return None if np.isnan(alpha) else alpha


def alpha_interval(
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[Any],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """A percentile interval for alpha, drawing whole items with replacement; None where alpha is None."""
    counts = pairable(count_labels(items, annotators, labels))
    if np.isnan(alphas(counts, np.ones((1, len(counts))))[0]):
        return None
    generator = np.random.default_rng(seed)
    share = np.full(len(counts), 1 / len(counts))
    rows = max(1, CHUNK // len(counts))
    drawn = [
        alphas(counts, generator.multinomial(len(counts), share, size=min(rows, resamples - start)).astype(float))
        for start in range(0, resamples, rows)
    ]
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pairable(counts: Counts) -> Counts:
    kept: Counts = counts[counts.sum(axis=1) >= 2]
    return kept


def alphas(counts: Counts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha for each row of item weights [resamples, items]; NaN where nothing could disagree."""
    judged = counts.sum(axis=1)  # [items]
    disagreeing = (judged**2 - (counts**2).sum(axis=1)) / (judged - 1)  # [items]
    totals = weights @ counts  # [resamples, labels]
    everything = totals.sum(axis=1)
    expected = everything**2 - (totals**2).sum(axis=1)
    observed = (everything - 1) * (weights @ disagreeing)
    ratio: NDArray[np.float64] = np.divide(observed, expected, out=np.full(len(weights), np.nan), where=expected > 0)
    return 1.0 - ratio


def cohen_kappa(first: Sequence[Any], second: Sequence[Any]) -> float | None:
    """Cohen's kappa of two annotators over the same items in the same order (Cohen 1960).

    (observed - chance agreement) / (1 - chance agreement); None without items, or where both gave one label only.
    """
    if len(first) != len(second):
        raise ValueError(f"two annotators of the same items, got {len(first)} and {len(second)} labels")
    if len(first) == 0:
        return None
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(list(first).count(label) * list(second).count(label) for label in set(first)) / n**2
    return None if chance == 1 else (observed - chance) / (1 - chance)


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Fleiss' kappa of a count table [items, labels], each item judged equally often (Fleiss 1971).

    None without items, or where one label took everything. ValueError: unequal rows, or fewer than two judgements.
    """
    table = np.asarray(counts, dtype=float)
    if table.size == 0:
        return None
    judged = table.sum(axis=1)
    if (judged != judged[0]).any() or judged[0] < 2:
        raise ValueError(
            f"every item needs the same number (2 or more) of judgements, got {judged.min():g} to {judged.max():g}; "
            "use krippendorff_alpha for uneven tables"
        )
    observed = float(((table**2).sum(axis=1) - judged).mean() / (judged[0] * (judged[0] - 1)))
    chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return None if chance == 1 else (observed - chance) / (1 - chance)
