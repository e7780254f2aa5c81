"""The order of rows: every pass holds each row once, in an order that the seed alone decides."""

from likelier.training.order import EpochOrder


def test_passes_follow_each_other_without_a_gap():
    order = EpochOrder(5, seed=0, purpose="test")
    rows = order.rows(0, 15)
    assert [sorted(rows[start : start + 5]) for start in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert rows[:5] != rows[5:10]
    assert order.rows(3, 8) == rows[3:8]


def test_seed_and_purpose_decide_the_order():
    rows = EpochOrder(50, 0, "lessons").rows(0, 50)
    assert EpochOrder(50, 0, "lessons").rows(0, 50) == rows
    assert EpochOrder(50, 1, "lessons").rows(0, 50) != rows
    assert EpochOrder(50, 0, "prompts").rows(0, 50) != rows


def test_the_first_rows_of_runs_made_before():
    # A resumed run takes its rows from here: another order would train on some rows twice.
    assert EpochOrder(6, 0, "lessons").rows(0, 6) == [1, 4, 2, 3, 0, 5]
    assert EpochOrder(6, 0, "prompts").rows(6, 12) == [5, 0, 2, 4, 1, 3]
