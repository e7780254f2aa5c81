"""The kept policy: which one, its weights, what is said of it, and that a resumed run keeps the same."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.evaluation.keep_best import BestPolicy, describe_selection
from likelier.files import read_log, write_jsonl
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from ppo_runs import fingerprint
from tiny_ppo import make_world

# The score wants "a" without end; the judge likes up to two of them: the best policy is neither the first nor the last.
REWARD = """
def count_a(prompts, responses):
    return [float(response.count("a")) for response in responses]

def two_a(prompts, responses):
    return [-abs(response.count("a") - 2.0) for response in responses]

def few_a(prompts, responses):
    return [-float(response.count("a") > 2) for response in responses]
"""


def make_config(world, **settings):
    block = {"batch_size": 16, "total_episodes": 320, "response_length": 6, "learning_rate": 0.01, "device": "cpu"}
    block |= {
        "save_steps": 2,
        "save_total_limit": 10,
        "kl_coef": 0.0,
        "num_mini_batches": 1,
        "num_ppo_epochs": 2,
        "stop_token": None,
    }
    block |= {"num_eval_prompts": 6, "eval_steps": 2, "keep_best": "two", **settings}
    scorer = [
        {"function": f"{world}/reward.py:two_a", "name": "two"},
        {"function": f"{world}/reward.py:few_a", "name": "few"},
    ]
    paths = {"model": f"{world}/model", "prompts": f"{world}/prompts.jsonl", "eval": {"scorer": scorer}}
    return build_config({**paths, "reward": [{"function": f"{world}/reward.py:count_a"}], "ppo": block})


def train(config, folder, resume="never"):
    with Run(folder, "ppo", config, resume) as run:
        return train_ppo(config, run)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = make_world(tmp_path_factory.mktemp("world"), REWARD)
    words = ("a", "b", "a b", "b a", "a a", "b b")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": f"{left} {right}"} for left in words for right in words])
    return folder


@pytest.fixture(scope="module")
def kept(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "kept"
    return folder, train(make_config(world), folder)


def test_the_model_is_that_of_the_best_evaluation(world, kept):
    folder, result = kept
    scores = {line["step"]: line["eval/two"] for line in read_log(folder / "metrics.jsonl") if "eval/two" in line}
    scores[0] = result["before"]["eval/two"]
    best = max(scores, key=lambda step: (scores[step], -step))
    assert 0 < best < 20
    assert (result["kept"]["step"], result["kept_step"]) == (best, best)
    assert result["kept"]["score"] == scores[best]
    # Its weights are those of the checkpoint of that step.
    model, then = (
        load_file(folder / path) for path in ("model/model.safetensors", f"checkpoint-{best}/policy.safetensors")
    )
    shared = {name: weight for name, weight in model.items() if f"model.{name}" in then}
    assert len(shared) > 5
    assert all(torch.equal(weight, then[f"model.{name}"]) for name, weight in shared.items())


def test_the_kept_policy_is_held_against_the_last_on_fresh_prompts(kept):
    _, result = kept
    record = result["kept"]
    assert (record["judge"], record["last_step"], record["fresh_prompts"]) == ("two", 20, 5)
    assert list(record["judges"]) == ["two", "few"]
    for judge in record["judges"].values():
        assert judge["difference"] == pytest.approx(judge["kept"] - judge["last"], abs=1e-6)
    assert record["judges"]["two"]["difference"] > 0


def test_a_resumed_run_keeps_the_same(world, kept):
    folder, result = kept
    copied = folder.parent / "resumed"
    shutil.copytree(folder, copied)
    for path in ("model", "checkpoint-20", "checkpoint-18", "checkpoint-16"):  # killed in step 15
        shutil.rmtree(copied / path)
    (copied / "result.json").unlink()
    again = train(make_config(world), copied, resume="auto")
    assert again["kept"] == result["kept"]
    assert fingerprint(copied) == fingerprint(folder)
    assert (copied / "model" / "model.safetensors").read_bytes() == (
        folder / "model" / "model.safetensors"
    ).read_bytes()


def test_training_stops_where_the_judge_has_fallen_and_stays_stopped(world, tmp_path):
    config = make_config(world, stop_on="gold_drift", total_episodes=800)
    result = train(config, tmp_path / "run")
    assert result["stopped_on"] == "gold_drift"
    assert 4 <= result["steps"] < 50
    assert "gold_drift" in {finding["name"] for finding in result["findings"]}
    again = train(config, tmp_path / "run", resume="auto")
    assert (again["steps"], again["kept"], again["stopped_on"]) == (result["steps"], result["kept"], "gold_drift")


def test_an_adapter_is_kept_too(world, tmp_path):
    result = train(make_config(world, lora_rank=2, total_episodes=64, learning_rate=0.05), tmp_path / "run")
    best = result["kept"]["step"]
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    then = load_file(tmp_path / "run" / f"checkpoint-{best}" / "best.safetensors")
    assert sorted(map(float, (weight.sum() for weight in adapter.values()))) == pytest.approx(
        sorted(map(float, (weight.sum() for weight in then.values())))
    )


def test_the_earlier_of_equals_stays():
    layer = nn.Linear(1, 1).requires_grad_(False)
    best = BestPolicy("gold", layer)
    for step, (score, weight) in enumerate([(0.5, 0.0), (0.7, 1.0), (0.7, 2.0), (0.1, 3.0)]):
        nn.init.constant_(layer.weight, weight)
        best.offer(step, {"eval/gold": score, "eval_kl": float(step)})
    assert best.state() == {"step": 1, "score": 0.7, "kl": 1.0}
    best.restore_policy()
    assert float(layer.weight) == 1.0
    with pytest.raises(ConfigError, match="gold scored none of the held-out prompts"):
        best.offer(4, {"eval_kl": 0.0})


def test_a_judge_that_is_not_there_is_refused(world):
    with pytest.raises(ConfigError, match=r"ppo.keep_best: no judge that scores is called 'gold'.* it has two, few"):
        make_config(world, keep_best="gold")
    with pytest.raises(ConfigError, match="keep_best would have no effect"):
        make_config(world, eval_steps=None)


JUDGED = {"kept": 0.5, "last": 0.25, "difference": 0.25, "interval": [0.125, 0.375]}


@pytest.mark.parametrize(
    ("changes", "judges", "sentence"),
    [
        ({}, {"a": JUDGED, "b": JUDGED}, "b gives it 0.5 and the last one 0.25: better (+0.125 to +0.375)"),
        ({}, {"a": JUDGED}, "a (the judge that chose it: there is no other) gives it 0.5"),
        ({"step": 9}, {"a": JUDGED}, "kept: the last policy (step 9), which a liked best"),
        ({"step": 0}, {"a": JUDGED}, "kept: the model as it was before training, which a liked best"),
        ({}, {"a": JUDGED, "b": JUDGED | {"interval": [-0.1, 0.6]}}, "no difference that could be told from chance"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_another_judge_finds(changes, judges, sentence):
    kept = {"judge": "a", "step": 4, "last_step": 9, "fresh_prompts": 64, "judges": judges, **changes}
    assert sentence in describe_selection(kept)
