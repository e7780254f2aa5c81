"""Win rate and best of n against numbers worked out by hand and by enumeration."""

import itertools
import math

import numpy as np
import pytest

from likelier.evaluation.statistics import best_of_n_kl, best_of_n_weights, compute_shift, compute_win_rate
from likelier.intervals import clopper_pearson, rate_interval


def test_win_rate_counts_ties_half():
    found = compute_win_rate([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 4.0], list("abcd"))
    assert (found.rate, found.ties, found.n) == (0.625, 1, 4)
    assert found.interval == rate_interval([1.0, 0.5, 0.0, 1.0], list("abcd"))


def test_win_rate_of_equal_scores_is_one_half():
    found = compute_win_rate([1.0, 2.0], [1.0, 2.0], ["a", "b"])
    assert (found.rate, found.ties) == (0.5, 2)
    assert found.interval[0] < 0.5 < found.interval[1]


def test_many_responses_to_few_prompts_make_a_wide_interval():
    before, after = np.zeros(100), np.tile([1.0, -1.0], 50)
    by_prompt = [str(at % 2) for at in range(100)]  # one prompt always wins, the other always loses
    assert compute_win_rate(before, after, by_prompt).interval == pytest.approx([0.0, 1.0], abs=1e-9)
    alone = compute_win_rate(before, after, [str(at) for at in range(100)]).interval
    assert alone == pytest.approx(clopper_pearson(0.5, 99))


def test_shift_is_paired_and_in_deviations_of_the_start():
    found = compute_shift([0.0, 2.0, 0.0, 2.0], [1.5, 3.5, 1.5, 3.5], list("abcd"))
    assert found.difference == 1.5
    assert found.difference_interval is None  # always the same: no spread left after pairing
    assert (found.std_a, found.in_stds, found.in_stds_interval) == (1.0, 1.5, None)
    assert compute_shift([1.0, 1.0], [2.0, 2.0], ["a", "b"]).in_stds is None


def test_kl_of_best_of_n_by_hand():
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_n_kl(64) == pytest.approx(3.1745080833596714, abs=1e-12)


def test_kl_of_best_of_n_is_met_where_no_response_has_much_probability():
    # uniform over m outcomes: the best is outcome i with probability (i^n - (i-1)^n) / m^n
    m, n = 20_000, 4
    best = np.diff((np.arange(m + 1) / m) ** n)
    exact = float((best * np.log(best * m)).sum())
    assert exact == pytest.approx(best_of_n_kl(n), abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_weights_of_best_of_n_by_enumeration(n: int):
    scores = np.random.default_rng(0).normal(size=(3, 5))
    subsets = list(itertools.combinations(range(5), n))
    expected = np.zeros((3, 5))
    for row, subset in itertools.product(range(3), subsets):
        expected[row, max(subset, key=lambda at: scores[row, at])] += 1 / len(subsets)
    assert best_of_n_weights(scores, n) == pytest.approx(expected)


def test_weights_of_best_of_n_with_equal_scores_still_add_up():
    weights = best_of_n_weights(np.zeros((2, 6)), 3)
    assert weights.sum(1) == pytest.approx([1.0, 1.0])


def test_best_of_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at least 4"):
        best_of_n_weights(np.zeros((1, 3)), 4)


def test_shift_on_one_prompt_has_no_interval():
    found = compute_shift([0.0, 1.0, 2.0, 3.0], [1.0, 1.5, 4.0, 3.0], ["the only prompt"] * 4)
    assert found.difference == 0.875
    assert (found.difference_interval, found.in_stds_interval) == (None, None)
