"""Fine-tuning: more of what is scored, an exact resume, and errors in one line."""

import json
import math

import pytest
import torch
from tests.images.test_chain import Drift

from likelier.config import build_config
from likelier.errors import ConfigError, LikelierError
from likelier.images.discriminator import Discriminator
from likelier.images.finetune import Task, finetune
from likelier.runs.run import Run


def settings(**ppo):
    values = {"algorithm": "reinforce_pp", "batch_size": 64, "total_episodes": 64 * 6, "learning_rate": 0.02}
    values |= {"num_eval_prompts": 256, "lr_schedule": "constant", "max_grad_norm": 10.0, "save_steps": 2}
    return build_config({"seed": 1, "ppo": values | {"eval_steps": 2} | ppo})


def first_number(pictures):
    return pictures[:, 0]


def train(folder, config, resume="never", start=None, **task):
    with Run(folder, "ppo", config, resume) as run:
        return finetune(config, run, Task(start or Drift(0.0), **{"score": first_number, **task}))


def test_the_best_policy_for_a_price_of_kl_is_found(tmp_path):
    """Drift b gives a score of 3 b at a KL of 17 b^2: with a price of 0.5 a nat, the best b is 3 / 17."""
    config = settings(kl_coef=0.5, total_episodes=64 * 80, num_mini_batches=1, num_ppo_epochs=1)
    result = train(tmp_path / "run", config, judges={"opposite": lambda pictures: -pictures[:, 0]})
    assert result["kl"] == pytest.approx(17 * (3 / 17) ** 2, rel=0.4)
    assert result["score_after"] - result["score_before"] == pytest.approx(math.sqrt(9 * result["kl"] / 17), rel=0.01)
    watch = result["overoptimisation"]["opposite"]
    assert watch["best_step"] == 0
    assert watch["fell"] > 0.2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["first_ratio_deviation"] for line in lines} == {0.0}
    assert "gold_drift" in [finding["name"] for finding in result["findings"]]


def test_a_resumed_run_has_the_same_bits(tmp_path):
    def with_discriminator():
        return {"discriminator": Discriminator(torch.zeros(50, 2), seed=0), "discriminator_coef": 0.1}

    train(tmp_path / "whole", settings(), **with_discriminator())
    calls = []

    def stop_at_the_fifth_step(pictures):
        calls.append(len(pictures))
        if calls.count(64) == 5:
            raise RuntimeError("power cut")
        return pictures[:, 0]

    with pytest.raises(RuntimeError):
        train(tmp_path / "cut", settings(), score=stop_at_the_fifth_step, **with_discriminator())
    train(tmp_path / "cut", settings(), resume="auto", **with_discriminator())
    for name in ("metrics.jsonl", "model/policy.safetensors", "checkpoint-6/discriminator.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


KEEP = {
    "total_episodes": 64 * 20,
    "keep_best": "one",
    "num_mini_batches": 1,
    "learning_rate": 0.05,
    "save_total_limit": 30,
}


def distance_judges():
    """Judges who want the first number, which the score pushes up without end, near a value."""
    return {
        "one": lambda pictures: -(pictures[:, 0] - 1.0).square(),
        "less": lambda pictures: -(pictures[:, 0] - 0.8).square(),
    }


def test_the_policy_that_a_judge_liked_best_is_kept_and_held_against_the_last(tmp_path):
    result = train(tmp_path / "run", settings(**KEEP), judges=distance_judges())
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["eval/one"] for line in lines if "eval/one" in line}
    judged[0] = result["before"]["eval/one"]
    best = max(judged, key=lambda step: (judged[step], -step))
    kept = result["kept"]
    assert 0 < best < 20
    assert (kept["step"], result["kept_step"], kept["score"]) == (best, best, judged[best])
    saved = (tmp_path / "run" / f"checkpoint-{best}/policy.safetensors").read_bytes()
    assert (tmp_path / "run/model/policy.safetensors").read_bytes() == saved
    assert (kept["last_step"], kept["fresh_pictures"]) == (20, 256)
    low, high = kept["judges"]["less"]["interval"]
    assert 0 < low < kept["judges"]["less"]["difference"] < high
    assert kept["judges"]["one"]["kept"] != kept["score"]  # by other noise
    assert "on 256 fresh pictures less gives it" in kept["in_words"]


def test_a_resumed_run_keeps_the_same_policy(tmp_path):
    whole = train(tmp_path / "whole", settings(**KEEP), judges=distance_judges())
    calls = []

    def stop_at_the_last_step(pictures):
        calls.append(len(pictures))
        if calls.count(64) == 20:
            raise RuntimeError("power cut")
        return pictures[:, 0]

    with pytest.raises(RuntimeError):
        train(tmp_path / "cut", settings(**KEEP), score=stop_at_the_last_step, judges=distance_judges())
    again = train(tmp_path / "cut", settings(**KEEP), resume="auto", judges=distance_judges())
    assert again["kept"] == whole["kept"]
    for name in ("metrics.jsonl", "model/policy.safetensors", "checkpoint-20/best.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_training_stops_where_the_judges_fall_and_stays_stopped(tmp_path):
    config = settings(**KEEP | {"total_episodes": 64 * 60, "stop_on": "gold_drift"})
    result = train(tmp_path / "run", config, judges=distance_judges())
    assert (result["stopped_on"], result["kept"]["last_step"]) == ("gold_drift", result["steps"])
    assert 4 <= result["steps"] < 60
    assert result["kept_step"] < result["steps"]
    again = train(tmp_path / "run", config, resume="auto", judges=distance_judges())
    assert (again["steps"], again["kept"]) == (result["steps"], result["kept"])


def test_errors_are_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="ppo.algorithm: ppo has a critic"):
        train(tmp_path / "critic", settings(algorithm="ppo"))
    for idle in ({"samples_per_step": 2}, {"lora_rank": 8}, {"reward_clip": 1.0}):
        with pytest.raises(ConfigError, match=f"ppo.{next(iter(idle))} would have no effect: pictures"):
            train(tmp_path / "idle", settings(**idle))
    with pytest.raises(ConfigError, match="ppo.keep_best: no judge is called 'one'; there is none"):
        train(tmp_path / "judge", settings(keep_best="one"))
    with pytest.raises(ConfigError, match="ppo.stop_on: gold_drift is seen by judges, and there is none"):
        train(tmp_path / "judges", settings(stop_on="gold_drift"))
    with pytest.raises(LikelierError, match="score of pictures: nan, which is no finite number"):
        train(tmp_path / "nan", settings(), score=lambda pictures: pictures[:, 0] * math.nan)
    with pytest.raises(LikelierError, match=r"score of pictures: shape \[256, 2\], not \[256\]"):
        train(tmp_path / "shape", settings(), score=lambda pictures: pictures)


def test_a_penalty_in_the_loss_holds_the_policy_too(tmp_path):
    few = {"total_episodes": 64 * 30, "num_mini_batches": 1, "num_ppo_epochs": 1}
    free = train(tmp_path / "free", settings(kl_coef=0.0, **few))
    held = train(tmp_path / "held", settings(kl_coef=2.0, kl_place="loss", kl_estimator="k2", **few))
    assert held["kl"] < free["kl"] / 4
