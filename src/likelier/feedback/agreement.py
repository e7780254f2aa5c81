"""Agreement between annotators: Krippendorff's alpha, kappas, and the share of pairs that agree, with intervals."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]
"""[items, labels]: how many annotators gave an item each label."""

Floats = NDArray[np.float64]
Measurement = Literal["nominal", "ordinal", "interval"]
"""How far apart two labels are: equal or not; by how many labels lie between them; by their squared difference."""
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


def krippendorff_alpha(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], measurement: Measurement = "nominal"
) -> float | None:
    """Compute Krippendorff's alpha: 1 - observed / expected disagreement. Labels are numbers unless nominal.

    Items with fewer than two judgements are left out. None if alpha is undefined: no item was judged by two annotators,
    or all labels are equal. Source: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", C and D.
    """
    counts, values = tabulate_multiple(items, annotators, labels, measurement)
    alpha = float(compute_alphas(counts, np.ones((1, len(counts))), values, measurement)[0])
    return None if np.isnan(alpha) else alpha


def alpha_interval(
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[Any],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    measurement: Measurement = "nominal",
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of alpha, resampling items; None if alpha is, or for a single item."""
    counts, values = tabulate_multiple(items, annotators, labels, measurement)
    return resample_items(
        lambda weights: compute_alphas(counts, weights, values, measurement), len(counts), level, resamples, seed
    )


def pairwise_agreement(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> float | None:
    """Return the share of pairs of annotators of an item that gave it the same label; None without such a pair."""
    counts = drop_single_labels(count_labels(items, annotators, labels))
    share = float(compute_agreements(counts, np.ones((1, len(counts))))[0])
    return None if np.isnan(share) else share


def pairwise_agreement_interval(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return its percentile bootstrap interval, resampling items; None without a share, or for a single item."""
    counts = drop_single_labels(count_labels(items, annotators, labels))
    return resample_items(lambda weights: compute_agreements(counts, weights), len(counts), level, 1000, seed)


def resample_items(
    statistic: Callable[[Floats], Floats], num_items: int, level: float, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic over resamples of items; None if it is undefined, or of one item.

    `statistic` takes weights of items [resamples, items]: a resample is a multinomial vector of these, and the
    statistic of all resamples two matrix products.
    """
    if num_items < 2 or np.isnan(statistic(np.ones((1, num_items)))[0]):
        return None
    generator = np.random.default_rng(seed)
    uniform = np.full(num_items, 1 / num_items)
    block = max(1, MAX_WEIGHTS_IN_MEMORY // num_items)
    values = [
        statistic(generator.multinomial(num_items, uniform, size=min(block, resamples - start)).astype(float))
        for start in range(0, resamples, block)
    ]
    low, high = np.nanquantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tabulate_multiple(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], measurement: Measurement
) -> tuple[Counts, Floats]:
    """Return the counts of items with two labels or more, and the labels' values in the order of the columns."""
    counts = count_labels(items, annotators, labels)
    names = list(dict.fromkeys(labels))
    values = np.arange(len(names), dtype=float) if measurement == "nominal" else np.array(names, dtype=float)
    order = np.argsort(values, kind="stable")
    return drop_single_labels(counts[:, order]), values[order]


def drop_single_labels(counts: Counts) -> Counts:
    """Drop items with fewer than two labels, which hold no pair to compare."""
    multiple: Counts = counts[counts.sum(axis=1) >= 2]
    return multiple


def compute_alphas(counts: Counts, weights: Floats, values: Floats, measurement: Measurement) -> Floats:
    """Compute alpha for each row of item weights [resamples, items]; NaN where the expected disagreement is 0.

    `values` [labels] are ascending.
    """
    if measurement == "nominal":
        return compute_nominal_alphas(counts, weights)
    num_labels = counts.sum(axis=1)  # [items]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    pairs /= (num_labels - 1)[:, None, None]
    coincidences = np.tensordot(weights, pairs, axes=1)  # [resamples, labels, labels]
    totals = coincidences.sum(axis=2)  # [resamples, labels]
    distances = compute_distances(totals, values, measurement)
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2))
    ratio = np.divide(
        observed * (totals.sum(axis=1) - 1), expected, out=np.full(len(weights), np.nan), where=expected > 0
    )
    return np.asarray(1.0 - ratio)


def compute_distances(totals: Floats, values: Floats, measurement: Measurement) -> Floats:
    """Return the squared distances of labels, [resamples or 1, labels, labels]."""
    if measurement == "interval":
        return np.asarray((values[:, None] - values[None, :]) ** 2)[None]
    up_to = np.cumsum(totals, axis=1) - totals / 2  # labels below, and half of the label's own
    return np.asarray((up_to[:, :, None] - up_to[:, None, :]) ** 2)


def compute_nominal_alphas(counts: Counts, weights: Floats) -> Floats:
    """Compute alpha of nominal labels in memory that does not grow with the square of the labels."""
    num_labels = counts.sum(axis=1)  # [items]
    disagreement = (num_labels**2 - (counts**2).sum(axis=1)) / (num_labels - 1)  # [items]
    label_totals = weights @ counts  # [resamples, labels]
    total = label_totals.sum(axis=1)
    expected = total**2 - (label_totals**2).sum(axis=1)
    observed = (total - 1) * (weights @ disagreement)
    ratio: Floats = np.divide(observed, expected, out=np.full(len(weights), np.nan), where=expected > 0)
    return 1.0 - ratio


def compute_agreements(counts: Counts, weights: Floats) -> Floats:
    """Compute the share of agreeing pairs for each row of item weights [resamples, items]; NaN without a pair."""
    num_labels = counts.sum(axis=1)
    agreeing, pairs = weights @ (counts * (counts - 1)).sum(axis=1), weights @ (num_labels * (num_labels - 1))
    return np.asarray(np.divide(agreeing, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two annotators on the `n` items that both judged."""

    first: str
    second: str
    n: int
    agreement: float
    kappa: float | None
    """Cohen's; None if all labels are equal."""
    weighted_kappa: float | None
    """Cohen's with linear weights, for ordered labels."""


def compare_annotators(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], least: int, most: int
) -> list[PairAgreement]:
    """Return the agreement of the `most` pairs of annotators that share most items, if `least` at the least."""
    by_item: defaultdict[Any, dict[Any, Any]] = defaultdict(dict)
    for item, annotator, label in zip(items, annotators, labels, strict=True):
        by_item[item].setdefault(annotator, label)
    shared: defaultdict[tuple[Any, Any], list[tuple[Any, Any]]] = defaultdict(list)
    for given in by_item.values():
        for one, two in combinations(sorted(given), 2):
            shared[one, two].append((given[one], given[two]))
    often = sorted((pair for pair, both in shared.items() if len(both) >= least), key=lambda pair: -len(shared[pair]))
    return [describe_pair(*pair, shared[pair]) for pair in often[:most]]


def describe_pair(first: str, second: str, both: Sequence[tuple[Any, Any]]) -> PairAgreement:
    """Return the agreement of two annotators, given their labels of the same items."""
    ones, twos = zip(*both, strict=True)
    agreement = sum(one == two for one, two in both) / len(both)
    return PairAgreement(first, second, len(both), agreement, cohen_kappa(ones, twos), weighted_kappa(ones, twos))


def weighted_kappa(
    first: Sequence[float], second: Sequence[float], weights: Literal["linear", "quadratic"] = "linear"
) -> float | None:
    """Compute Cohen's kappa with weights by how many labels lie between two, of labels in order (Cohen 1968).

    Labels that neither gave do not count as steps, as in scikit-learn. None without items, or if all labels are equal.
    """
    if len(first) != len(second):
        raise ValueError(f"two annotators of the same items, got {len(first)} and {len(second)} labels")
    names, codes = np.unique([*first, *second], return_inverse=True)
    if len(names) < 2:
        return None
    table = np.zeros((len(names), len(names)))
    np.add.at(table, (codes[: len(first)], codes[len(first) :]), 1)
    steps = np.abs(np.subtract.outer(np.arange(len(names)), np.arange(len(names)))).astype(float)
    steps = steps if weights == "linear" else steps**2
    expected = float((steps * np.outer(table.sum(axis=1), table.sum(axis=0))).sum() / table.sum())
    return None if expected == 0 else 1.0 - float((steps * table).sum()) / expected


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
