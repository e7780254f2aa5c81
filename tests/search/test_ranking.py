"""The ranking by hand: means, Student's intervals, the paired difference to the best, failed trials last."""

import pytest

from likelier.search.ranking import Trial, rank_trials

TRIALS = [
    Trial(1, {"x": 1}, [1.0, 2.0, 3.0]),
    Trial(2, {"x": 2}, [None, 9.0, 9.0], "no score"),
    Trial(3, {"x": 3}, [3.0, 4.0, 4.0]),
    Trial(4, {"x": 4}, [2.0, 2.0, 2.0]),
]


def test_best_first_equal_means_by_number_failed_last():
    assert [row["trial"] for row in rank_trials(TRIALS, "max")] == [3, 1, 4, 2]
    assert [row["trial"] for row in rank_trials(TRIALS, "min")] == [1, 4, 3, 2]
    assert [row["rank"] for row in rank_trials(TRIALS, "max")] == [1, 2, 3, 4]


def test_intervals_by_hand():
    best, second, _, failed = rank_trials(TRIALS, "max")
    # t(2 degrees of freedom, 0.975) = 4.302653; standard deviation of 1, 2, 3 is 1
    assert second["interval"] == pytest.approx([2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], abs=1e-6)
    # 3-1, 4-2, 4-3: mean 5/3, standard deviation sqrt(1/3)
    half = 4.302653 * (1 / 3) ** 0.5 / 3**0.5
    assert second["behind"] == pytest.approx(5 / 3)
    assert second["behind_interval"] == pytest.approx([5 / 3 - half, 5 / 3 + half], abs=1e-6)
    assert (best["behind"], best["behind_interval"]) == (0.0, None)
    assert (failed["status"], failed["mean"], failed["behind"], failed["reason"]) == ("failed", None, None, "no score")


def test_behind_is_positive_where_small_is_good():
    assert rank_trials(TRIALS, "min")[2]["behind"] == pytest.approx(5 / 3)


def test_one_fold_has_no_interval():
    rows = rank_trials([Trial(1, {}, [1.0]), Trial(2, {}, [2.0])], "max")
    assert [(row["mean"], row["interval"], row["behind"], row["behind_interval"]) for row in rows] == [
        (2.0, None, 0.0, None),
        (1.0, None, 1.0, None),
    ]
