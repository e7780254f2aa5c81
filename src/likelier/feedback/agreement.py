"""Agreement between annotators: Krippendorff's alpha, kappas, and the share of pairs that agree, with intervals."""

from collections import Counter, defaultdict
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
MAX_ITEMS_APART = 5000
"""Of more items those with equal counts are resampled together, which is faster and the same in distribution."""


def count_labels(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any]) -> Counts:
    """Count labels per item, given three 1-D sequences of equal length; repeated labels by one annotator count once."""
    if not len(items) == len(annotators) == len(labels):
        lengths = (len(items), len(annotators), len(labels))
        raise ValueError(f"items, annotators and labels must be equally long, got {lengths}")
    (row, num_rows), (person, num_people), (column, num_columns) = map(encode, (items, annotators, labels))
    first = np.unique(row * num_people + person, return_index=True)[1]
    cells = np.bincount(row[first] * num_columns + column[first], minlength=num_rows * num_columns)
    return cells.reshape(num_rows, num_columns).astype(float)


def encode(values: Sequence[Any]) -> tuple[NDArray[np.int64], int]:
    """Return the number of each value in the order of first appearance, [N], and how many different ones there are."""
    codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return np.fromiter(map(codes.__getitem__, values), np.int64, len(values)), len(codes)


def tabulate(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], measurement: Measurement = "nominal"
) -> "AgreementTable":
    """Count the labels of items with two labels or more, in the order of the labels unless these are nominal."""
    counts, names = count_labels(items, annotators, labels), list(dict.fromkeys(labels))
    values = np.arange(len(names), dtype=float) if measurement == "nominal" else np.array(names, dtype=float)
    order = np.argsort(values, kind="stable")
    return AgreementTable(drop_single_labels(counts[:, order]), values[order])


@dataclass(frozen=True)
class AgreementTable:
    """How often each item got each label; only items with two labels or more."""

    counts: Counts
    values: Floats
    """The labels' values, ascending."""

    def alpha(self, measurement: Measurement = "nominal") -> float | None:
        """Return Krippendorff's alpha: 1 - observed / expected disagreement.

        None if it is undefined: no item was judged by two annotators, or all labels are equal. Source: Krippendorff
        (2011), "Computing Krippendorff's Alpha-Reliability", C and D.
        """
        alphas = compute_alphas(self.counts, np.ones((1, len(self.counts))), self.values, measurement)
        return None if np.isnan(alphas[0]) else float(alphas[0])

    def fleiss_kappa(self) -> float | None:
        """Return Fleiss' kappa; None if it is undefined, or where items were not judged equally often."""
        num_labels = self.counts.sum(axis=1)
        return fleiss_kappa(self.counts) if len(num_labels) and (num_labels == num_labels[0]).all() else None

    def alpha_interval(self, resamples: int = 1000, seed: int = 0) -> tuple[float, float] | None:
        """Return the 95% bootstrap interval of nominal alpha over items."""
        return resample_items(self.counts, compute_nominal_alphas, resamples, seed)

    def agreement(self) -> float | None:
        """Return the share of pairs of annotators of an item that gave it the same label; None without a pair."""
        shares = compute_agreements(self.counts, np.ones((1, len(self.counts))))
        return None if np.isnan(shares[0]) else float(shares[0])

    def agreement_interval(self, resamples: int = 1000, seed: int = 0) -> tuple[float, float] | None:
        """Return its 95% bootstrap interval over items."""
        return resample_items(self.counts, compute_agreements, resamples, seed)


def resample_items(
    counts: Counts, statistic: Callable[[Counts, Floats], Floats], resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the 95% percentile interval of a statistic over resamples of items; None if undefined, or for one item.

    `statistic` takes counts and weights of items [resamples, items]: a resample is a multinomial vector of these, and
    the statistic of all resamples two matrix products.
    """
    num_items = len(counts)
    if num_items < 2 or np.isnan(statistic(counts, np.ones((1, num_items)))[0]):
        return None
    copies: Floats = np.ones(num_items)
    if num_items > MAX_ITEMS_APART:  # items with the same counts are alike
        counts, numbers = np.unique(counts, axis=0, return_counts=True)
        copies = numbers.astype(float)
    generator, shares = np.random.default_rng(seed), copies / copies.sum()
    block = max(1, MAX_WEIGHTS_IN_MEMORY // len(counts))
    values = [
        statistic(counts, generator.multinomial(num_items, shares, min(block, resamples - start)).astype(float))
        for start in range(0, resamples, block)
    ]
    low, high = np.nanquantile(np.concatenate(values), [0.025, 0.975])
    return float(low), float(high)


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
    num_labels = Counter(annotators)
    for item, annotator, label in zip(items, annotators, labels, strict=True):
        if num_labels[annotator] >= least:
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
