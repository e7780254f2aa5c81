"""Columns, windows and standard errors of a log."""

import math

import pytest

from likelier.doctor.findings.history import History, explain_silence


def log(**columns):
    length = len(next(iter(columns.values())))
    return History([{"step": at + 1} | {name: column[at] for name, column in columns.items()} for at in range(length)])


def test_a_level_has_the_larger_of_both_errors():
    run = log(kl=[1.0, 3.0], kl_std=[8.0, 8.0], episodes=[64, 128])
    assert run.level("kl", 0, 2).stderr == pytest.approx(math.sqrt(2) / math.sqrt(2))  # between the steps
    assert run.level("kl", 0, 1).stderr == pytest.approx(8 / math.sqrt(64))  # between the responses
    assert str(run.level("kl", 0, 2)) == "2 in steps 1 to 2"
    assert str(run.level("kl", 1, 2)) == "3 in step 2"


def test_what_is_missing_is_left_out():
    run = log(kl=[None, 2.0, 4.0], score=[None, None, None])
    assert run.level("kl", 0, 3)[:1] == (3.0,)
    assert run.level("score", 0, 3) is None
    assert run.level("absent", 0, 3) is None
    assert not run.has("score")


def test_windows():
    run = log(kl=[float(at) for at in range(1, 41)])
    assert run.initial_level("kl")[2:4] == (1, 4)
    assert run.final_level("kl")[2:4] == (31, 40)
    assert run.highest_level("kl")[2:4] == (33, 40)
    assert log(kl=[1.0, 2.0]).highest_level("kl") is None


def test_no_findings_of_a_reward_run_is_no_praise():
    """Of a reward run that its baselines beat the doctor said `No findings.` alone."""
    result = {"verdict": "no_better_than_baselines", "in_words": "Length alone cannot be told from it."}
    assert explain_silence(100, result) == "No findings. Length alone cannot be told from it."
    assert explain_silence(100, {"findings": []}) == "No findings."
