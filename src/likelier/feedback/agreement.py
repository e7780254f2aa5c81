"""Chance-corrected agreement: Krippendorff's alpha with a bootstrap interval, Cohen's and Fleiss' kappa."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]
"""[items, labels]: how many annotators gave an item each label."""

MAX_WEIGHTS_IN_MEMORY = 20_000_000
"""Size of a block of resampling weights [resamples, items] (160 MB)."""


def count_labels(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> Counts:
    """Count labels per item, given three 1-D sequences of equal length; repeated labels by one annotator count once."""
    if not len(items) == len(annotators) == len(labels):
        lengths = (len(items), len(annotators), len(labels))
        raise ValueError(f"items, annotators and labels must be equally long, got {lengths}")
    first_labels: dict[tuple[Any, Any], Any] = {}
    for item, annotator, label in zip(items, annotators, labels, strict=True):
        first_labels.setdefault((item, annotator), label)
    rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
    columns = {label: column for column, label in enumerate(dict.fromkeys(labels))}
    counts = np.zeros((len(rows), len(columns)))
    for (item, _), label in first_labels.items():
        counts[rows[item], columns[label]] += 1
    return counts


def krippendorff_alpha(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> float | None:
    """Compute Krippendorff's alpha for nominal labels: 1 - observed / expected disagreement.

    Items with fewer than two judgements are left out. None if alpha is undefined: no item was judged by two annotators,
    or all labels are equal. Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C.
    """
    counts = drop_single_labels(count_labels(items, annotators, labels))
    alpha = float(compute_alphas(counts, np.ones((1, len(counts))))[0])
    return None if np.isnan(alpha) else alpha


def alpha_interval(
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[Any],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of alpha, resampling items; None if alpha is, or for a single item."""
    counts = drop_single_labels(count_labels(items, annotators, labels))
    if len(counts) < 2 or np.isnan(compute_alphas(counts, np.ones((1, len(counts))))[0]):
        return None
    generator = np.random.default_rng(seed)
    uniform = np.full(len(counts), 1 / len(counts))
    block = max(1, MAX_WEIGHTS_IN_MEMORY // len(counts))
    # A resample of items is a multinomial vector of weights: alpha of all resamples is then two matrix products.
    alphas = [
        compute_alphas(
            counts, generator.multinomial(len(counts), uniform, size=min(block, resamples - start)).astype(float)
        )
        for start in range(0, resamples, block)
    ]
    low, high = np.nanquantile(np.concatenate(alphas), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def drop_single_labels(counts: Counts) -> Counts:
    """Drop items with fewer than two labels, which hold no pair to compare."""
    multiple: Counts = counts[counts.sum(axis=1) >= 2]
    return multiple


def compute_alphas(counts: Counts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute alpha for each row of item weights [resamples, items]; NaN where the expected disagreement is 0."""
    num_labels = counts.sum(axis=1)  # [items]
    disagreement = (num_labels**2 - (counts**2).sum(axis=1)) / (num_labels - 1)  # [items]
    label_totals = weights @ counts  # [resamples, labels]
    total = label_totals.sum(axis=1)
    expected = total**2 - (label_totals**2).sum(axis=1)
    observed = (total - 1) * (weights @ disagreement)
    ratio: NDArray[np.float64] = np.divide(observed, expected, out=np.full(len(weights), np.nan), where=expected > 0)
    return 1.0 - ratio


def cohen_kappa(first: Sequence[Any], second: Sequence[Any]) -> float | None:
    """Compute Cohen's kappa of two annotators over the same items in the same order (Cohen 1960).

    (observed - chance agreement) / (1 - chance agreement); None without items, or if all labels are equal.
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
    """Compute Fleiss' kappa of a count table [items, labels], each item judged equally often (Fleiss 1971).

    None without items, or if all labels are equal. ValueError: unequal row sums, or fewer than two judgements.
    """
    table = np.asarray(counts, dtype=float)
    if table.size == 0:
        return None
    num_labels = table.sum(axis=1)
    if (num_labels != num_labels[0]).any() or num_labels[0] < 2:
        raise ValueError(
            "every item needs the same number (2 or more) of judgements, "
            f"got {num_labels.min():g} to {num_labels.max():g}; use krippendorff_alpha for uneven tables"
        )
    observed = float(((table**2).sum(axis=1) - num_labels).mean() / (num_labels[0] * (num_labels[0] - 1)))
    chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return None if chance == 1 else (observed - chance) / (1 - chance)
