"""The doctor as a whole: a healthy run yields nothing, a log of others can be read, lines are said once."""

import json
import re
from pathlib import Path

import pytest

from broken_metrics import history, lines, ramp
from likelier.config import Config, RewardSource
from likelier.doctor.examine import FINDINGS, Watch, examine, examine_run, metrics_of_samples
from likelier.errors import DataError
from likelier.files import write_json, write_jsonl
from likelier.reward.verdict import read_reward_results

ROOT = Path(__file__).parents[2]
INTERFACE = [
    "reward_flat", "kl_negative", "kl_explodes", "length_collapse", "length_blowup", "entropy_collapse", "repetition",
    "value_not_learning", "ratio_not_one", "sampler_mismatch", "clipfrac_high", "clipfrac_zero", "scorer_saturated",
    "scorer_at_chance", "gold_drift", "advantage_zero", "gradients_clipped", "never_ends", "gamma_with_kl",
    "estimator_misplaced", "often_cut", "out_of_distribution",
]  # fmt: skip


def test_names_are_those_of_the_interface_and_stand_in_the_guide_once():
    assert sorted(look.__name__ for look in FINDINGS) == sorted(INTERFACE)
    guide = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### `(\w+)`$", guide, flags=re.MULTILINE)) == sorted(INTERFACE)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 8, 12, 20, 40, 200])
def test_a_healthy_run_yields_none(num_steps):
    for seed in range(10):
        assert examine(history(num_steps=num_steps, seed=seed)) == []


def test_a_healthy_run_yields_none_on_its_way():
    whole = history(num_steps=60)
    for step in range(1, 61):
        assert examine(type(whole)(whole.lines[:step], whole.config)) == []


def test_the_worst_comes_first():
    found = examine(history({"gamma": 0.9}, kl=-1.0, clipfrac=0.0))
    assert [finding.severity for finding in found] == sorted(
        (finding.severity for finding in found), key=("error", "warning", "info").index
    )
    assert found[0].name == "kl_negative"


def test_every_finding_has_figures_a_step_a_cause_and_a_remedy():
    spoilt = {
        "score": 0.5, "score_std": 0.0, "kl": ramp(0, 60), "clipfrac": 0.5, "entropy": ramp(2, -0.5).clip(0.01),
        "first_ratio_deviation": 0.2, "grad_norm": 90.0, "grad_clipped": 1.0, "response_length": ramp(30, 1),
        "ended_rate": 0.0, "repetition": 0.9, "sampler_difference": 1.0, "explained_variance_mc": -1.0,
    }  # fmt: skip
    found = examine(history({"gamma": 0.9, "kl_estimator": "k3"}, **spoilt))
    assert len(found) >= 12
    for finding in found:
        assert re.search(r"\d", finding.evidence), finding
        assert "step" in finding.evidence, finding
        assert 1 <= finding.step <= 40
        assert finding.cause
        assert finding.remedy
        assert "\n" not in str(finding)


def write_run(folder, found=None, config=None, **spoilt):
    write_jsonl(folder / "metrics.jsonl", lines(**spoilt))
    write_json(folder / "run.json", {"verb": "ppo"})
    if config:
        (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def test_a_run_folder_is_read_with_its_settings(tmp_path):
    assert examine_run(write_run(tmp_path / "well")) == []
    folder = write_run(tmp_path / "ill", config={"ppo": {"gamma": 0.9}}, entropy=ramp(2, -0.5).clip(0.01))
    assert [finding["name"] for finding in examine_run(folder)] == ["entropy_collapse", "gamma_with_kl"]
    assert set(examine_run(folder)[0]) == {"name", "severity", "step", "evidence", "cause", "remedy"}


def test_a_run_that_is_writing_a_step_or_was_killed_there_is_read_up_to_it(tmp_path):
    spoilt = {"entropy": ramp(2, -0.5).clip(0.01), "repetition": None}
    folder = write_run(tmp_path, **spoilt)
    write_jsonl(folder / "samples.jsonl", [{"step": 1, "response": "a b", "score": 1.0, "kl": 0.5, "stop_reason": ""}])
    whole = examine_run(folder)
    for log in ("metrics.jsonl", "samples.jsonl"):
        with open(folder / log, "a") as file:
            file.write('{"step": 41, "ent')
    assert examine_run(folder) == whole
    assert [finding["name"] for finding in whole] == ["entropy_collapse"]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no metrics\.jsonl"):
        examine_run(tmp_path)
    write_jsonl(tmp_path / "metrics.jsonl", [])
    with pytest.raises(DataError, match="no step yet"):
        examine_run(tmp_path)
    write_json(tmp_path / "run.json", {"verb": "sft"})
    with pytest.raises(DataError, match="a run of `sft`"):
        examine_run(tmp_path)


def test_a_reward_run_at_chance(tmp_path):
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "accuracy": 0.5}])
    write_json(tmp_path / "run.json", {"verb": "reward"})
    write_json(tmp_path / "result.json", {"accuracy": 0.51, "pairs": 300})
    assert [finding["name"] for finding in examine_run(tmp_path)] == ["scorer_at_chance"]
    assert set(read_reward_results([RewardSource(model=str(tmp_path / "model"), name="rm")])) == {"rm"}
    assert read_reward_results([RewardSource(model="somewhere/else"), RewardSource(function="a.py:b")]) == {}


def test_a_reward_learned_from_clips_at_chance(tmp_path):
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1}])
    write_json(tmp_path / "run.json", {"verb": "gym"})
    for accuracy, interval, names in (
        (0.51, [0.45, 0.57], ["scorer_at_chance"]),
        (0.51, [0.45, 0.61], []),  # too few to tell
        (0.7, [0.6, 0.8], []),
    ):
        about = {"accuracy": accuracy, "accuracy_interval": interval, "measured": 300}
        write_json(tmp_path / "result.json", {"preferences": about})
        assert [finding["name"] for finding in examine_run(tmp_path)] == names
    write_json(tmp_path / "result.json", {"eval_mean": 500.0})
    assert examine_run(tmp_path) == []


def test_a_log_without_our_own_metrics_is_completed_from_the_samples(tmp_path):
    ours = dict.fromkeys(("repetition", "score_std", "kl_std", "ended_rate", "score_top_share", "score_bottom_share"))
    folder = write_run(tmp_path, **ours)
    sample = {"response": "so good so good so good so good", "score": 1.0, "kl": 0.5, "stop_reason": "length"}
    write_jsonl(folder / "samples.jsonl", [{"step": step, **sample} for step in range(1, 41) for _ in range(4)])
    names = [finding["name"] for finding in examine_run(folder)]
    assert {"repetition", "never_ends", "scorer_saturated"} <= set(names)


def test_what_samples_tell():
    samples = [
        {"response": "a b a b", "score": 1.0, "kl": 2.0, "stop_reason": "end_token"},
        {"response": "c", "score": 3.0, "kl": 4.0, "stop_reason": "length"},
    ]
    metrics = metrics_of_samples(samples)
    assert metrics == {
        "repetition": pytest.approx(1 / 3),
        "ended_rate": 0.5,
        "score_std": 1.0,
        "kl_std": 1.0,
    }


def test_each_finding_is_said_once_and_not_again_after_a_resume(tmp_path):
    whole = lines(entropy=ramp(2, -0.5).clip(0.01))
    config, said = Config(), []
    (tmp_path / "metrics.jsonl").touch()
    watch = Watch(
        config.model_copy(update={"ppo": config.ppo.model_copy(update={"total_episodes": 64 * 40})}),
        tmp_path,
        said.append,
    )
    for step in range(1, 41):
        write_jsonl(tmp_path / "metrics.jsonl", whole[:step])
        watch.examine_step(step)
    assert len(said) == 1
    assert said[0].startswith("doctor: entropy_collapse (")
    again = []
    Watch(config, tmp_path, again.append).examine_step(40)
    assert again == []


@pytest.mark.parametrize(
    ("name", "record", "reason"),
    [
        ("result.json", [], "result.json: expected a JSON object, got list"),
        ("result.json", {"before": 5}, "its logs or result.json: damaged, or of another program"),
        ("run.json", 5, "run.json: expected a JSON object, got int"),
        ("run.json", {"verb": ["ppo"]}, r"a run of `\['ppo'\]`"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path, name, record, reason):
    write_run(tmp_path)
    write_json(tmp_path / name, record)
    with pytest.raises(DataError, match=reason):
        examine_run(tmp_path)


def test_a_metric_that_is_no_number_is_named_with_its_line(tmp_path):
    write_run(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as log:
        log.write('{"step": 99, "kl": "high"}\n')
    with pytest.raises(DataError, match=r"metrics.jsonl:41: kl is 'high', not a number"):
        examine_run(tmp_path)
