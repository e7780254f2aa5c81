"""Agreement: hand-worked tables, published kappas, the krippendorff and statsmodels packages as oracles."""

import gzip
import json
from pathlib import Path
from typing import Literal

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_oracle

from likelier.feedback.agreement import (
    AgreementTable,
    Measurement,
    cohen_kappa,
    compare_annotators,
    compute_alpha,
    count_labels,
    fleiss_kappa,
    jackknife_alpha,
    kappa_interval,
    measure_disagreement,
    tabulate,
    weighted_kappa,
)

LongTable = tuple[list[int], list[int], list[str]]


def to_long_table(table: list[str]) -> LongTable:
    """Return (items, annotators, labels) of a table with one row of labels per annotator; a point is a gap."""
    cells = [(item, coder, label) for coder, row in enumerate(table) for item, label in enumerate(row) if label != "."]
    return [cell[0] for cell in cells], [cell[1] for cell in cells], [cell[2] for cell in cells]


def random_table(seed: int, coders: int = 5, items: int = 60) -> list[str]:
    """Make coders who follow a common truth with probability 0.7, with gaps."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=items)
    given = np.where(generator.random((coders, items)) < 0.7, truth, generator.integers(3, size=(coders, items)))
    gap = generator.random((coders, items)) < 0.4
    return ["".join("." if g else str(v) for v, g in zip(*row, strict=True)) for row in zip(given, gap, strict=True)]


def test_alpha_of_krippendorffs_two_coders() -> None:
    assert tabulate(*to_long_table(["0100000010", "1110010000"])).alpha() == pytest.approx(0.095, abs=5e-4)


def test_alpha_of_krippendorffs_four_coders_with_gaps() -> None:
    table = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    assert tabulate(*to_long_table(table)).alpha() == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_alpha_like_the_krippendorff_package(seed: int) -> None:
    table = random_table(seed)
    numbers = [[np.nan if cell == "." else float(cell) for cell in row] for row in table]
    oracle = krippendorff.alpha(reliability_data=numbers, level_of_measurement="nominal")
    assert tabulate(*to_long_table(table)).alpha() == pytest.approx(oracle, abs=1e-12)


def test_alpha_is_none_where_nothing_overlaps_or_nothing_varies() -> None:
    assert tabulate([], [], []).alpha() is None
    assert tabulate([1, 2], ["ann", "ben"], ["left", "right"]).alpha() is None
    assert tabulate([1, 1, 2, 2], ["ann", "ben"] * 2, ["left"] * 4).alpha() is None
    assert tabulate([1, 2], ["ann", "ben"], ["left", "right"]).alpha_interval() is None


def test_an_annotators_repeat_does_not_agree_with_itself() -> None:
    assert tabulate([1, 1, 2, 2], ["ann", "ann", "ben", "ben"], ["a", "a", "b", "b"]).alpha() is None
    assert count_labels([1, 1, 1], ["ann", "ann", "ben"], ["a", "b", "b"]).tolist() == [[1, 1]]


def test_interval_covers_alpha_and_narrows_with_items() -> None:
    wide, narrow = random_table(0, items=40), random_table(0, items=400)
    low, high = tabulate(*to_long_table(wide)).alpha_interval() or (0, 0)
    assert low < (tabulate(*to_long_table(wide)).alpha() or 0) < high
    narrow_low, narrow_high = tabulate(*to_long_table(narrow)).alpha_interval() or (0, 0)
    assert 2 < (high - low) / (narrow_high - narrow_low) < 5  # sqrt(10) = 3.2 in expectation


def test_two_items_do_not_prove_perfect_agreement() -> None:
    """1.00 (1.00 to 1.00) of two items: now D_o is at most 1 - 0.025^(1/2), and D_e = (16 - 8) / 12."""
    table = tabulate([1, 1, 2, 2], ["ann", "ben"] * 2, ["a", "a", "b", "b"])
    assert table.alpha() == 1.0
    assert table.alpha_interval() == (pytest.approx(1 - (1 - 0.025**0.5) / (8 / 12)), 1.0)


def test_the_deviations_of_alpha_are_those_without_each_item() -> None:
    table = tabulate(*to_long_table(random_table(1, items=400)))
    alpha, expected = table.alpha() or 0.0, measure_disagreement(table.counts)[1]
    without = [compute_alpha(np.delete(table.counts, item, axis=0), table.values, "nominal") for item in range(99)]
    deviations = measure_disagreement(table.counts)[2][:99] / expected
    assert deviations == pytest.approx(np.array(without) - alpha, abs=3e-5)  # of up to 5e-3


def test_interval_covers_the_true_alpha_nearly_always() -> None:
    # Two labels equally likely, three coders right 7 times in 10 or else at random: alpha = 0.7 * 0.7 in expectation.
    covered = 0
    for seed in range(100):
        table = tabulate(*to_long_table(random_table(seed, coders=4, items=80)))
        low, high = table.alpha_interval() or (0, 0)
        covered += low <= 0.49 <= high
    assert covered >= 88


def test_cohens_kappa_by_hand() -> None:
    first, second = "yyyyynnnnn", "yyyynnnnny"  # agree 8 of 10; chance 0.5 * 0.5 + 0.5 * 0.5
    assert cohen_kappa(first, second) == pytest.approx((0.8 - 0.5) / 0.5)
    assert cohen_kappa([], []) is None
    assert cohen_kappa("yy", "yy") is None
    with pytest.raises(ValueError, match="got 1 and 2 labels"):
        cohen_kappa("y", "yn")


def test_kappas_that_pandalm_published(shared: Path) -> None:
    with gzip.open(shared / "data/pandalm-human/testset-v1.json.gz", "rt") as file:
        records = json.load(file)
    one, two, three = ([record[f"annotator{number}"] for record in records] for number in (1, 2, 3))
    assert cohen_kappa(one, two) == pytest.approx(0.85, abs=0.005)
    assert cohen_kappa(one, three) == pytest.approx(0.88, abs=0.005)
    assert cohen_kappa(two, three) == pytest.approx(0.86, abs=0.005)


def test_fleiss_kappa_like_statsmodels_and_by_hand() -> None:
    # Two items, three judgements each: agreement 1 and 1/3, shares 4/6 and 2/6: (2/3 - 5/9) / (4/9) = 1/4.
    assert fleiss_kappa([[3, 0], [1, 2]]) == pytest.approx(0.25)
    generator = np.random.default_rng(0)
    counts = generator.multinomial(6, [0.5, 0.3, 0.2], size=30)
    assert fleiss_kappa(counts) == pytest.approx(fleiss_oracle(counts), abs=1e-9)
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([[2, 0], [2, 0]]) is None
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([[2, 0], [1, 0]])


def test_one_item_has_no_interval() -> None:
    """The interval had no width."""
    assert tabulate(["i", "i", "i"], ["a", "b", "c"], [0, 0, 1]).alpha() is not None
    assert tabulate(["i", "i", "i"], ["a", "b", "c"], [0, 0, 1]).alpha_interval() is None


@pytest.mark.parametrize("measurement", ["ordinal", "interval"])
@pytest.mark.parametrize("seed", range(3))
def test_alpha_of_ordered_labels_like_the_krippendorff_package(seed: int, measurement: Measurement) -> None:
    table = random_table(seed)
    numbers = [[np.nan if cell == "." else float(cell) ** 2 for cell in row] for row in table]
    oracle = krippendorff.alpha(reliability_data=numbers, level_of_measurement=measurement)
    items, coders, labels = to_long_table(table)
    found = tabulate(items, coders, [float(label) ** 2 for label in labels], measurement).alpha(measurement)
    assert found == pytest.approx(oracle, abs=1e-9)


def test_alpha_of_ordered_labels_is_none_where_nothing_varies() -> None:
    assert tabulate([1, 1], ["ann", "ben"], [3.0, 3.0], "interval").alpha("interval") is None
    assert tabulate([1, 2], ["ann", "ben"], [3.0, 4.0], "ordinal").alpha("ordinal") is None


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_weighted_kappa_like_scikit_learn(weights: Literal["linear", "quadratic"]) -> None:
    draw = np.random.default_rng(0)
    first = draw.integers(1, 8, 60)
    second = np.clip(first + draw.integers(-2, 3, 60), 1, 7)
    oracle = cohen_kappa_score(first, second, weights=weights)
    assert weighted_kappa(first.tolist(), second.tolist(), weights) == pytest.approx(oracle, abs=1e-9)
    assert weighted_kappa([1, 1], [1, 1]) is None


def test_the_share_of_agreeing_pairs_by_hand() -> None:
    """Item 1: one of three pairs agrees; item 2: the one pair does; item 3 has no pair: 2 of 4."""
    table = [1, 1, 1, 2, 2, 3], ["a", "b", "c", "a", "b", "a"], ["x", "x", "y", "x", "x", "y"]
    assert tabulate(*table).agreement() == 0.5
    low, high = tabulate(*table).agreement_interval() or (0.5, 0.5)  # two items: next to nothing is known
    assert (low, high) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    alone = tabulate([1], ["a"], ["x"])
    assert (alone.agreement(), alone.agreement_interval()) == (None, None)


def test_the_share_of_many_items_is_binomial() -> None:
    """Of 6,000 items nine in ten agree: a binomial share, whose interval is 0.9 ± 1.96 sqrt(0.09 / 6000)."""
    items = [number for number in range(6000) for _ in range(2)]
    labels = [label for number in range(6000) for label in (0, int(number % 10 == 0))]
    table = tabulate(items, ["ann", "ben"] * 6000, labels)
    assert table.agreement() == 0.9
    assert table.agreement_interval() == pytest.approx((0.8921, 0.9075), abs=1e-4)  # Clopper and Pearson's


def test_pairs_of_annotators_are_those_that_share_most() -> None:
    """Ann and Ben agree on 3 of 4; chance is 0.5: kappa 0.5. Cem shares one item with each."""
    items = [1, 1, 2, 2, 3, 3, 4, 4, 4]
    annotators = ["ann", "ben"] * 4 + ["cem"]
    labels = [0, 0, 1, 1, 0, 0, 0, 1, 1]
    labels[2:4] = [1, 1]
    (pair,) = compare_annotators(items, annotators, labels, least=2, most=9)
    assert (pair.first, pair.second, pair.n, pair.agreement) == ("ann", "ben", 4, 0.75)
    assert pair.kappa == pair.weighted_kappa == pytest.approx(0.5)
    assert len(compare_annotators(items, annotators, labels, least=1, most=2)) == 2


def test_an_item_of_weight_two_counts_as_two() -> None:
    labels = [[1, 1, -1], [1, 0, 1], [-1, -1, -1], [0, 1, 1], [1, -1, -1]]
    weights = [2.0, 1.0, 3.0, 1.0, 1.0]
    items = [(number, copy) for number, weight in enumerate(weights) for copy in range(int(weight))]
    rows = [(item, person, label) for item in items for person, label in enumerate(labels[item[0]])]
    copied = tabulate(*zip(*rows, strict=True), "ordinal")
    short = [(number, person, label) for number, row in enumerate(labels) for person, label in enumerate(row)]
    weighted = tabulate(*zip(*short, strict=True), "ordinal", np.repeat(weights, 3))
    for measurement in ("nominal", "ordinal"):
        assert weighted.alpha(measurement) == pytest.approx(copied.alpha(measurement), abs=1e-12)
    assert weighted.agreement() == pytest.approx(copied.agreement(), abs=1e-12)
    assert weighted.fleiss_kappa() is None
    low, high = weighted.agreement_interval() or (0, 0)
    copied_low, copied_high = copied.agreement_interval() or (0, 0)
    assert low < copied_low < copied_high < high  # five items know less than eight


def test_weights_of_one_change_no_bit() -> None:
    table = to_long_table(random_table(3, coders=4, items=60))
    plain, ones = tabulate(*table), tabulate(*table, weights=np.ones(len(table[0])))
    assert plain.alpha_interval() == ones.alpha_interval()
    assert plain.agreement_interval() == ones.agreement_interval()


@pytest.mark.parametrize("seed", range(3))
def test_cohens_kappa_like_scikit_learn(seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, 4, (2, 50)).tolist()
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)


def make_counts(items: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Four labels an item, of three kinds, mostly alike within an item."""
    generator = np.random.default_rng(4)
    chances = generator.dirichlet([0.5, 0.5, 0.5], items)
    return np.array([generator.multinomial(4, row) for row in chances]).astype(float)


@pytest.mark.parametrize("measurement", ["ordinal", "interval"])
def test_the_deviations_of_ordered_alpha_are_those_without_each_item(measurement: Measurement) -> None:
    counts, values = make_counts(12), np.array([0.0, 1.0, 3.0])
    observed, expected, deviations = jackknife_alpha(counts, values, measurement, np.ones(12))
    alpha = AgreementTable(counts, values).alpha(measurement)
    assert 1 - observed / expected == pytest.approx(alpha, abs=1e-12)
    without = [AgreementTable(np.delete(counts, item, 0), values).alpha(measurement) for item in range(12)]
    assert deviations == pytest.approx((np.array(without) - alpha) * expected * np.sqrt(11 / 12), abs=1e-12)


def test_of_two_labels_ordered_alpha_has_the_interval_of_nominal_alpha() -> None:
    counts = make_counts(60)[:, :2]
    table = AgreementTable(counts[counts.sum(axis=1) > 1], np.array([0.0, 1.0]))
    assert table.alpha_interval("interval") == pytest.approx(table.alpha_interval(), abs=0.01)


def test_intervals_of_kappas_hold_them_and_narrow_with_items() -> None:
    few, many = (AgreementTable(make_counts(items), np.arange(3.0)) for items in (20, 320))
    for table in (few, many):
        low, high = table.fleiss_interval() or (1.0, 0.0)
        assert low < (table.fleiss_kappa() or 0.0) < high
    widths = [np.ptp(table.fleiss_interval()) for table in (few, many)]
    assert widths[0] > 3 * widths[1]
    assert AgreementTable(np.array([[2.0, 1.0]]), np.arange(2.0)).fleiss_interval() is None


def test_kappas_of_pairs_are_covered_nearly_always() -> None:
    """Two people who copy the truth with probability 0.6: kappa is 0.36 of two labels as frequent."""
    generator, covered = np.random.default_rng(0), 0
    for _ in range(200):
        truth = generator.integers(0, 2, 60)
        ones, twos = (np.where(generator.random(60) < 0.6, truth, generator.integers(0, 2, 60)) for _ in range(2))
        low, high = kappa_interval(ones.tolist(), twos.tolist(), "nominal") or (1.0, 0.0)
        covered += low <= 0.36 <= high
    assert covered >= 186
    assert kappa_interval([1, 1], [1, 1], "nominal") is None
    low, high = kappa_interval([0, 1, 2, 1], [0, 1, 2, 2], "linear") or (1.0, 0.0)
    assert low < high <= 1.0
