"""The counterfactual in numbers, and a demo in miniature from the first prompt to the report."""

import pytest

from likelier.demo import panel, run
from likelier.demo.run import (
    UNHELD,
    Arm,
    recovery,
    remember,
    run_demo,
    see_it_ended,
    start,
    turning_point,
    work_done,
    work_of,
)
from likelier.errors import ConfigError, LikelierError
from likelier.files import read_json, write_json


def test_turning_point_by_hand():
    curve = [
        {"step": step, "kl": kl, "true_score": true, "score": score}
        for step, kl, true, score in [(0, 0.0, 0.3, -1.0), (5, 4.0, 0.8, 1.5), (10, 20.0, 0.4, 3.0)]
    ]
    sentence = turning_point({"curve": curve})
    assert "peaked at 0.80, 4.0 nats away" in sentence
    assert "fell to 0.40 at 20.0 nats" in sentence
    assert "from 1.50 to 3.00" in sentence
    assert "not yet turned down" in turning_point({"curve": curve[:2]})


def test_recovery_says_a_share_and_nothing_where_nothing_was_lost():
    assert recovery(0.864) == "The check recovered 86 % of what three spammers cost."
    assert "all of what three spammers cost (123 %" in recovery(1.23)
    assert "cost nothing" in recovery(None)


def test_an_unknown_taste_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--taste sour: allowed: "):
        run_demo(tmp_path, taste="sour")


def test_a_demo_goes_on_with_what_it_was_begun_with(tmp_path):
    asked = {"seed": 3, "taste": "kind", "people": False}
    remember(tmp_path, asked)
    remember(tmp_path, asked)
    with pytest.raises(ConfigError, match="demo.json: this demo was started with --seed 3, not 4; use another --out"):
        remember(tmp_path, asked | {"seed": 4})


def test_an_arm_that_fails_is_named_and_one_that_was_stopped_has_not_failed(tmp_path):
    pair = (Arm("check on", start(tmp_path, 0, "kind"), {}), Arm(UNHELD, start(tmp_path, 0, "kind"), {}))
    for code in (0, 75, -15):
        see_it_ended(pair, code)
    for code in (1, -9):
        with pytest.raises(LikelierError, match="an arm of the demo failed; .*log.txt says why"):
            see_it_ended(pair, code)


def test_the_bar_counts_reward_model_ppo_and_evaluation(tmp_path):
    arm = Arm("check on", start(tmp_path, 0, "kind"), {})
    assert (work_done(arm), work_of(arm)) == (0, 13 + 20 + 3)
    write_json(tmp_path / "preferences.json", {"train": 130})  # three batches of 64, three epochs
    for name, lines, expected in (("reward", 3, 4), ("reward", 9, 13), ("policy", 20, 33)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "metrics.jsonl").write_text("{}\n" * lines)
        assert work_done(arm) == expected
    write_json(tmp_path / "evaluation.json", {})
    assert work_done(arm) == work_of(arm)
    assert work_done(Arm(UNHELD, arm.at, {})) == work_of(Arm(UNHELD, arm.at, {})) == 20 + 3


@pytest.mark.slow
def test_a_demo_in_miniature(tmp_path, monkeypatch):
    small = {"total_episodes": 16 * 2, "batch_size": 16, "num_eval_prompts": 8, "eval_steps": 1, "save_steps": 2}
    monkeypatch.setattr(run, "PROMPTS", 60)
    monkeypatch.setattr(panel, "COMPARISONS", 120)
    settings = {**run.SETTINGS, "circle": {**run.SETTINGS["circle"], "num_eval_prompts": 12}}
    settings["ppo"] = {**run.SETTINGS["ppo"], **small}
    settings["reward_model"] = {**run.SETTINGS["reward_model"], "num_epochs": 1}
    monkeypatch.setattr(run, "SETTINGS", settings)
    result = run_demo(tmp_path, seed=1, taste="kind")
    assert result["annotators"] == 12
    assert len(result["spammers_planted"]) == 3
    assert [arm["name"] for arm in result["arms"]] == ["check on", "check off", "nobody misbehaves", "no KL penalty"]
    assert len(result["arms"][0]["curve"]) == 3
    page = (tmp_path / "report.html").read_text()
    assert "Simulated." in page
    assert read_json(tmp_path / "check.json")["planted"] == result["spammers_planted"]
    again = run_demo(tmp_path, seed=1, taste="kind")  # everything is done already
    assert again["arms"] == result["arms"]
