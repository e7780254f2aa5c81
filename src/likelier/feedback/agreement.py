"""Agreement between annotators: Krippendorff's alpha, kappas, and the share of pairs that agree, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, triu

from likelier.intervals import jackknife_deviations, share_interval

Counts = NDArray[np.float64]
"""[items, labels]: how many annotators gave an item each label."""

Floats = NDArray[np.float64]
Measurement = Literal["nominal", "ordinal", "interval"]
"""How far apart two labels are: equal or not; by how many labels lie between them; by their squared difference."""
MAX_COMPARED = 2000
"""People who are compared two by two: those with most labels."""


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
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[Any],
    measurement: Measurement = "nominal",
    weights: Floats | None = None,
) -> "AgreementTable":
    """Count the labels of items with two labels or more, in the order of the labels unless these are nominal.

    `weights` has the weight of each label's item, [N]; an item of weight 2 counts as two of weight 1.
    """
    counts, names = count_labels(items, annotators, labels), list(dict.fromkeys(labels))
    values = np.arange(len(names), dtype=float) if measurement == "nominal" else np.array(names, dtype=float)
    order = np.argsort(values, kind="stable")
    kept = counts.sum(axis=1) >= 2  # of one label there is no pair to compare
    of_item = np.ones(len(counts))
    if weights is not None:
        of_item[encode(items)[0]] = weights
    return AgreementTable(counts[kept][:, order], values[order], of_item[kept])


@dataclass(frozen=True)
class AgreementTable:
    """How often each item got each label; only items with two labels or more."""

    counts: Counts
    values: Floats
    """The labels' values, ascending."""
    item_weights: Floats | None = None
    """[items]; None: 1 each."""

    @property
    def weights(self) -> Floats:
        """The weight of each item, [items]."""
        return np.ones(len(self.counts)) if self.item_weights is None else self.item_weights

    def alpha(self, measurement: Measurement = "nominal") -> float | None:
        """Return Krippendorff's alpha: 1 - observed / expected disagreement.

        None if it is undefined: no item was judged by two annotators, or all labels are equal. Source: Krippendorff
        (2011), "Computing Krippendorff's Alpha-Reliability", C and D.
        """
        return compute_alpha(self.counts, self.values, measurement, self.weights)

    def fleiss_kappa(self) -> float | None:
        """Return Fleiss' kappa; None if undefined, or where items were judged unequally often, or differ in weight."""
        num_labels = self.counts.sum(axis=1)
        if (self.weights != 1).any():
            return None
        return fleiss_kappa(self.counts) if len(num_labels) and (num_labels == num_labels[0]).all() else None

    def fleiss_interval(self) -> tuple[float, float] | None:
        """Return its 95% interval over items; None as for `fleiss_kappa`, or for one item."""
        if self.fleiss_kappa() is None:
            return None
        rows, times = np.unique(self.counts, axis=0, return_counts=True)
        return interval_over_items(times, lambda some: disagree_as_fleiss(rows, some), int(rows[0].sum()))

    def alpha_interval(self, measurement: Measurement = "nominal") -> tuple[float, float] | None:
        """Return the 95% interval of alpha over items; None if alpha is undefined, or for one item.

        alpha = 1 - D_o / D_e, and the share of disagreement D_o gets Korn and Graubard's interval at the variance that
        the jackknife over items gives alpha; so two items on which all agree leave (-0.26, 1) and not (1, 1), which
        every resample of these two would say. Distances count as shares of the largest. Bounds below -1 are -1.
        """
        if measurement == "nominal":
            disagreement, expected, deviations = measure_disagreement(self.counts, self.weights)
        else:
            disagreement, expected, deviations = jackknife_alpha(self.counts, self.values, measurement, self.weights)
        if expected == 0 or (interval := self._share_interval(min(disagreement, 1.0), deviations)) is None:
            return None
        return turn_into_agreement(interval, expected)

    def agreement(self) -> float | None:
        """Return the share of pairs of annotators of an item that gave it the same label; None without a pair."""
        agreeing, pairs = (self.weights * each for each in count_pairs(self.counts))
        return float(agreeing.sum() / pairs.sum()) if len(pairs) else None

    def agreement_interval(self) -> tuple[float, float] | None:
        """Return its 95% interval over items, by Korn and Graubard; None without a pair, or for one item."""
        agreeing, pairs = (self.weights * each for each in count_pairs(self.counts))
        if not len(pairs):
            return None
        interval = self._share_interval(agreeing.sum() / pairs.sum(), jackknife_deviations(agreeing, pairs))
        return (interval[0], interval[1]) if interval else None

    def _share_interval(self, share: float, deviations: Floats) -> list[float] | None:
        """Return the interval of a share over items; an item of m labels is worth at most m - 1 independent trials, of
        items with weights Kish's (sum w (m - 1))^2 / sum w^2 (m - 1) in all."""
        num_labels = self.counts.sum(axis=1)
        own, squares = float(self.weights @ (num_labels - 1)), float(self.weights**2 @ (num_labels - 1))
        trials = round(own**2 / squares) if squares else 0
        return share_interval(float(share), deviations, self.weights * num_labels, trials, float(trials))


def compute_alpha(
    counts: Counts, values: Floats, measurement: Measurement, weights: Floats | None = None
) -> float | None:
    """Compute alpha; None where the expected disagreement is 0. `values` [labels] are ascending."""
    if measurement == "nominal":
        disagreement, expected, _ = measure_disagreement(counts, weights)
        return 1 - disagreement / expected if expected > 0 else None
    weights = np.ones(len(counts)) if weights is None else weights
    num_labels = counts.sum(axis=1)  # [items]
    scaled = counts * (weights / (num_labels - 1))[:, None]
    coincidences = counts.T @ scaled - np.diag(scaled.sum(axis=0))  # [labels, labels]
    totals = weights @ counts
    distances = compute_distances(totals, values, measurement)
    expected = float(totals @ distances @ totals)
    return 1 - float((coincidences * distances).sum() * (totals.sum() - 1)) / expected if expected > 0 else None


def compute_distances(totals: Floats, values: Floats, measurement: Measurement) -> Floats:
    """Return the squared distances of labels, [labels, labels]."""
    if measurement == "interval":
        return np.asarray((values[:, None] - values[None, :]) ** 2)
    up_to = np.cumsum(totals) - totals / 2  # labels below, and half of the label's own
    return np.asarray((up_to[:, None] - up_to[None, :]) ** 2)


def measure_disagreement(counts: Counts, weights: Floats | None = None) -> tuple[float, float, Floats]:
    """Return nominal disagreement: observed and expected, and the jackknife's deviations of the former, [items].

    With n labels, of which n_c are of label c, and n_i of item i: D_o = sum_i d_i / n with d_i = sum_c n_ic
    (n_i - n_ic) / (n_i - 1), D_e = (n^2 - sum_c n_c^2) / (n (n - 1)). The deviations are those of alpha, times D_e:
    the linearised effect of an item on D_o / D_e, over the share of labels that are left without it. With `weights`
    [items], an item counts as so many alike.
    """
    weights = np.ones(len(counts)) if weights is None else weights
    num_labels, totals = counts.sum(axis=1), weights @ counts  # [items], [labels]
    n = float(totals.sum())
    if not len(counts) or n**2 == float(totals @ totals):
        return 0.0, 0.0, np.zeros(len(counts))
    disagreeing = weights * (num_labels**2 - (counts**2).sum(axis=1)) / (num_labels - 1)
    observed, expected = float(disagreeing.sum()) / n, (n**2 - float(totals @ totals)) / (n * (n - 1))
    own = weights * num_labels
    unlike = own * n - weights * (counts @ totals)  # pairs of a label of the item and an unlike one of any item
    effect = disagreeing / n - observed * (2 * unlike / (n * (n - 1)) / expected - own / n)
    left = 1 - own / n
    deviations = np.divide(effect, left, out=np.zeros(len(counts)), where=left > 0)  # of one item none is left
    return observed, expected, deviations * np.sqrt((len(counts) - 1) / len(counts))


def jackknife_alpha(
    counts: Counts, values: Floats, measurement: Measurement, weights: Floats
) -> tuple[float, float, Floats]:
    """Return the disagreement of ordered labels, observed and expected, as shares of the largest distance, and the
    jackknife's deviations of the former, [items], as `measure_disagreement` does; each item is left out in turn."""
    rows, first, inverse = np.unique(np.column_stack([counts, weights]), axis=0, return_index=True, return_inverse=True)
    rows, weight = counts[first], weights[first]
    totals, n_items = weights @ counts, len(counts)
    scaled = (weights / (counts.sum(axis=1) - 1))[:, None] * counts
    coincidences = counts.T @ scaled - np.diag(scaled.sum(axis=0))

    def measure(together: Floats, given: Floats) -> tuple[float, float]:
        distances, n = compute_distances(given, values, measurement), float(given.sum())
        largest = float(distances.max(initial=0.0))
        if largest == 0 or n < 2:
            return 0.0, 0.0
        expected = float(given @ distances @ given) / (n * (n - 1) * largest)
        return float((together * distances).sum()) / (n * largest), expected

    if not n_items or (measured := measure(coincidences, totals))[1] == 0:
        return 0.0, 0.0, np.zeros(n_items)
    observed, expected = measured
    changes = np.zeros(len(rows))
    for number, (row, own) in enumerate(zip(rows, weight.tolist(), strict=True)):
        pairs = (np.outer(row, row) - np.diag(row)) * own / (row.sum() - 1)
        left, chance = measure(coincidences - pairs, totals - own * row)
        changes[number] = observed / expected - left / chance if chance > 0 else 0.0
    deviations = changes[inverse.ravel()] * expected * np.sqrt((n_items - 1) / n_items)
    return observed, expected, deviations


def interval_over_items(
    times: NDArray[np.int64], disagree: Callable[[NDArray[np.int64]], tuple[float, float]], num_labels: int
) -> tuple[float, float] | None:
    """Return the 95% interval of a kappa, 1 - observed / expected disagreement, as `alpha_interval` does.

    `times` [kinds] counts the items of each kind, all with `num_labels` labels; `disagree` returns the disagreement of
    so many, observed as a share and expected by chance. None for one item, or where none is expected.
    """
    (observed, expected), n = disagree(times), int(times.sum())
    if expected <= 0:
        return None
    changes = np.zeros(len(times))
    for kind in np.flatnonzero(times):
        left, chance = disagree(times - (np.arange(len(times)) == kind))
        changes[kind] = observed / expected - left / chance if chance > 0 else 0.0
    deviations = np.repeat(changes, times) * expected * np.sqrt((n - 1) / n)
    trials = n * (num_labels - 1)
    interval = share_interval(min(observed, 1.0), deviations, np.full(n, float(num_labels)), trials, float(trials))
    return turn_into_agreement(interval, expected) if interval else None


def turn_into_agreement(interval: Sequence[float], expected: float) -> tuple[float, float]:
    """Return the interval of 1 - observed / expected, from that of the observed disagreement, within -1 and 1."""
    return max(1 - interval[1] / expected, -1.0), min(1 - interval[0] / expected, 1.0)


def disagree_as_fleiss(rows: Counts, times: NDArray[np.int64]) -> tuple[float, float]:
    """Return the disagreement of Fleiss' kappa, observed and by chance, of `times` items with these counts."""
    num_labels, n = float(rows[0].sum()), float(times.sum())
    if n == 0:
        return 0.0, 0.0
    agreeing = ((rows**2).sum(axis=1) - num_labels) / (num_labels * (num_labels - 1))
    shares = times @ rows / (n * num_labels)
    return 1 - float(times @ agreeing) / n, 1 - float(shares @ shares)


def count_pairs(counts: Counts) -> tuple[Floats, Floats]:
    """Return for each item how many pairs of its labels are equal, and how many there are, [items]."""
    num_labels = counts.sum(axis=1)
    return (counts * (counts - 1)).sum(axis=1) / 2, num_labels * (num_labels - 1) / 2


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
    kappa_interval: tuple[float, float] | None = None
    """95%, over items."""
    weighted_kappa_interval: tuple[float, float] | None = None


def compare_annotators(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[Any], least: int, most: int
) -> list[PairAgreement]:
    """Return the agreement of the `most` pairs of annotators that share most items, if `least` at the least.

    Only the `MAX_COMPARED` annotators with most labels are compared: all pairs of a crowd would not fit in memory.
    """
    (item, num_items), (person, num_people) = encode(items), encode(annotators)
    names = list(dict.fromkeys(annotators))
    first = np.unique(person * num_items + item, return_index=True)[1]  # sorted by person, then item
    num_labels = np.bincount(person[first], minlength=num_people)
    often = np.argsort(-num_labels, kind="stable")[:MAX_COMPARED]
    often = often[num_labels[often] >= least]
    ends = np.cumsum(num_labels)
    rows = [first[ends[number] - num_labels[number] : ends[number]] for number in often]
    columns = item[np.concatenate([*rows, np.zeros(0, np.int64)])]
    bounds = np.concatenate([[0], np.cumsum(num_labels[often])])
    given = csr_array((np.ones(len(columns)), columns, bounds), shape=(len(rows), num_items))
    shared = triu(given @ given.T, 1).tocoo()
    found = np.flatnonzero(shared.data >= least)
    found = found[np.argsort(-shared.data[found], kind="stable")][:most]
    pairs = []
    for one, two in zip(shared.coords[0][found].tolist(), shared.coords[1][found].tolist(), strict=True):
        one, two = sorted((one, two), key=lambda place: names[often[place]])
        _, ones, twos = np.intersect1d(item[rows[one]], item[rows[two]], assume_unique=True, return_indices=True)
        both = [(labels[a], labels[b]) for a, b in zip(rows[one][ones], rows[two][twos], strict=True)]
        pairs.append(describe_pair(names[often[one]], names[often[two]], both))
    return pairs


def describe_pair(first: str, second: str, both: Sequence[tuple[Any, Any]]) -> PairAgreement:
    """Return the agreement of two annotators, given their labels of the same items."""
    ones, twos = zip(*both, strict=True)
    agreement = sum(one == two for one, two in both) / len(both)
    intervals = kappa_interval(ones, twos, "nominal"), kappa_interval(ones, twos, "linear")
    return PairAgreement(
        first, second, len(both), agreement, cohen_kappa(ones, twos), weighted_kappa(ones, twos), *intervals
    )


def kappa_interval(
    first: Sequence[float], second: Sequence[float], weights: Literal["nominal", "linear"]
) -> tuple[float, float] | None:
    """Return the 95% interval of Cohen's kappa over items, plain or with linear weights; None where it is undefined."""
    names, codes = np.unique([*first, *second], return_inverse=True)
    ones, twos = codes[: len(first)], codes[len(first) :]
    kinds, times = np.unique(ones * len(names) + twos, return_counts=True)
    one, two, labels = kinds // len(names), kinds % len(names), np.arange(len(names))
    steps = np.abs(np.subtract.outer(labels, labels)) / max(len(names) - 1, 1)
    steps = (steps > 0).astype(float) if weights == "nominal" else steps

    def disagree(some: NDArray[np.int64]) -> tuple[float, float]:
        n = max(float(some.sum()), 1.0)
        shares = [np.bincount(side, some, len(names)) / n for side in (one, two)]
        return float(some @ steps[one, two]) / n, float(shares[0] @ steps @ shares[1])

    return interval_over_items(times, disagree, 2)


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
