"""The comparison of the arms; `test_wheel.py` runs a small demo from the first prompt to the report."""

import pytest

from likelier.demo.run import (
    UNPENALISED_ARM,
    Arm,
    check_exit_code,
    completed_work,
    describe_recovery,
    describe_turning_point,
    record_options,
    run_demo,
    start_round,
    total_work,
)
from likelier.errors import ConfigError, LikelierError
from likelier.files import write_json


def test_turning_point_by_hand():
    curve = [
        {"step": step, "kl": kl, "true_score": true, "score": score}
        for step, kl, true, score in [(0, 0.0, 0.3, -1.0), (5, 4.0, 0.8, 1.5), (10, 20.0, 0.4, 3.0)]
    ]
    sentence = describe_turning_point({"curve": curve})
    assert "peaked at 0.80, 4.0 nats away" in sentence
    assert "fell to 0.40 at 20.0 nats" in sentence
    assert "from 1.50 to 3.00" in sentence
    assert "not yet turned down" in describe_turning_point({"curve": curve[:2]})


def test_recovery_says_a_share_and_nothing_where_nothing_was_lost():
    assert describe_recovery(0.864) == "The check recovered 86 % of what three spammers cost."
    assert "all of what three spammers cost (123 %" in describe_recovery(1.23)
    assert "cost nothing" in describe_recovery(None)


def test_an_unknown_taste_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--taste sour: allowed: "):
        run_demo(tmp_path, taste="sour")


def test_a_demo_resumes_only_with_the_same_options(tmp_path):
    options = {"seed": 3, "taste": "kind", "people": False}
    record_options(tmp_path, options)
    record_options(tmp_path, options)
    with pytest.raises(ConfigError, match="demo.json: this demo was started with --seed 3, not 4; use another --out"):
        record_options(tmp_path, options | {"seed": 4})


def test_an_arm_that_fails_is_named_and_one_that_was_stopped_has_not_failed(tmp_path):
    pair = (
        Arm("check on", start_round(tmp_path, 0, "kind"), {}),
        Arm(UNPENALISED_ARM, start_round(tmp_path, 0, "kind"), {}),
    )
    for code in (0, 75, -15):
        check_exit_code(pair, code)
    for code in (1, -9):
        with pytest.raises(LikelierError, match="an arm of the demo failed; .*log.txt says why"):
            check_exit_code(pair, code)


def test_the_bar_counts_reward_model_ppo_and_evaluation(tmp_path):
    arm = Arm("check on", start_round(tmp_path, 0, "kind"), {})
    assert (completed_work(arm), total_work(arm)) == (0, 13 + 20 + 3)
    write_json(tmp_path / "preferences.json", {"train": 130})  # three batches of 64, three epochs
    for name, lines, expected in (("reward", 3, 4), ("reward", 9, 13), ("policy", 20, 33)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "metrics.jsonl").write_text("{}\n" * lines)
        assert completed_work(arm) == expected
    write_json(tmp_path / "evaluation.json", {})
    assert completed_work(arm) == total_work(arm)
    assert (
        completed_work(Arm(UNPENALISED_ARM, arm.circle_round, {}))
        == total_work(Arm(UNPENALISED_ARM, arm.circle_round, {}))
        == 20 + 3
    )
