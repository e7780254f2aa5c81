"""DPO: it learns what the pairs say, its first loss is log 2, it resumes to the same bits, and every setting bites."""

import hashlib
import json
import math

import pytest
import torch
from safetensors.torch import load_file

from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.files import write_jsonl
from likelier.finetune.dpo import TokenizedPair, all_logprobs, evaluate_pairs, prepare, train_dpo
from likelier.records import Preference
from likelier.runs.checkpoints import list_checkpoints
from likelier.runs.run import Run
from likelier.stages import STAGES
from likelier.text.models import load_causal_lm
from peft_folders import load_by_peft, save_peft_adapter
from tiny import save_tiny_model

COUNT = "def count_a(prompts, responses):\n    return [float(text.split().count('a')) for text in responses]\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    save_tiny_model(folder / "model", words=["a", "b"], context=32)
    prompts = [" ".join(text) for text in ("a", "b", "ab", "ba", "aa", "bb", "aab", "abb", "bba", "bab")]
    pairs = [
        Preference(prompt, " a a", " b", weight=0.5 + at % 2, flip=0.1 * (at % 2), conversation=prompt)
        for at in range(4)
        for prompt in prompts
    ]
    write_jsonl(folder / "pairs/train.jsonl", pairs)
    write_jsonl(folder / "pairs/test.jsonl", pairs[:8])
    write_jsonl(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    (folder / "reward.py").write_text(COUNT)
    return folder


def config(world, more=None, **settings):
    block = {"batch_size": 8, "learning_rate": 0.01, "save_steps": 2, "device": "cpu", **settings}
    base = {"model": str(world / "model"), "data": str(world / "pairs"), "dpo": block}
    return build_config(base | (more or {}))


def measured(world):
    scorer = [{"function": f"{world / 'reward.py'}:count_a", "name": "a"}]
    ppo = {"response_length": 4, "batch_size": 8, "total_episodes": 8, "num_eval_prompts": 2}
    return {"prompts": str(world / "prompts.jsonl"), "eval": {"scorer": scorer}, "ppo": ppo}


def train(config, folder, resume="never"):
    with Run(folder, "dpo", config, resume) as run:
        return train_dpo(config, run)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_learns_what_the_pairs_say(world, tmp_path):
    result = train(config(world, num_epochs=3), tmp_path)
    lines = metrics(tmp_path)
    assert (result["steps"], result["optimizer_steps"], result["pairs"], result["left_out"]) == (15, 15, 40, 0)
    assert lines[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert lines[-1]["loss"] < 0.75 * lines[0]["loss"]
    assert lines[-1]["rewards/margins"] > 0.4
    assert lines[-1]["logps/chosen"] > lines[0]["logps/chosen"]
    assert result["accuracy"] == 1.0
    assert result["log_loss"] < 0.6  # log 2 before
    assert all(STAGES["dpo"].find_metric(name) for line in lines for name in line)
    load_causal_lm(tmp_path / "model")


@pytest.mark.slow
def test_the_first_loss_is_log_2_times_the_mean_weight(world, tmp_path):
    train(config(world, batch_size=40), tmp_path)
    assert metrics(tmp_path)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # weights 0.5 and 1.5, as many of each


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{}, {"lora_rank": 4}], ids=["whole", "adapter"])
def test_resumed_it_ends_with_the_same_bits(world, tmp_path, lora):
    settings = config(world, measured(world), num_epochs=2, eval_steps=2, beta=0.3, **lora)
    train(settings, tmp_path)
    wanted = fingerprint(tmp_path)
    train(settings, tmp_path, str(list_checkpoints(tmp_path)[-1]))
    assert fingerprint(tmp_path) == wanted


def fingerprint(folder):
    files = [
        folder / "metrics.jsonl",
        folder / "model/model.safetensors",
        *list_checkpoints(folder)[0].glob("*.safetensors"),
    ]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_an_adapter_learns_beside_its_base_which_is_the_reference(world, tmp_path):
    settings = config(world, measured(world), num_epochs=3, lora_rank=4, learning_rate=0.03, eval_steps=2)
    result, lines = train(settings, tmp_path), metrics(tmp_path)
    assert lines[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert lines[-1]["rewards/margins"] > 0.05  # no more: the output layer stays random
    assert (result["accuracy"], result["before"]["eval_kl"]) == (1.0, pytest.approx(0.0, abs=1e-5))
    assert result["kl"] > 0.05
    base, whole = load_causal_lm(world / "model"), load_causal_lm(tmp_path / "model")
    adapted, _, data, _ = prepare(settings)
    start, ref, trained = (all_logprobs(each, data.held_out, settings.dpo) for each in (adapted, base, whole))
    assert torch.equal(start, ref)  # an adapter begins at its base
    found = evaluate_pairs(trained, ref, data.held_out, settings.dpo.beta)
    assert found["log_loss"] == pytest.approx(result["log_loss"], abs=1e-5)  # what is written is what was measured
    saved = load_file(list_checkpoints(tmp_path)[0] / "model.safetensors")
    assert not any(tensor.shape == base.get_input_embeddings().weight.shape for tensor in saved.values())
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()


@pytest.mark.slow
def test_micro_batches_change_nothing(world, tmp_path):
    whole = train(config(world), tmp_path / "whole")
    parts = train(config(world, micro_batch_size=3), tmp_path / "parts")
    assert whole["steps"] == parts["steps"]
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        assert one == pytest.approx(other, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"beta": 0.5}, {"use_flip": False}], ids=lambda settings: next(iter(settings)))
def test_settings_bite(world, tmp_path, settings):
    train(config(world), tmp_path / "plain")
    train(config(world, **settings), tmp_path / "changed")
    plain, changed = metrics(tmp_path / "plain"), metrics(tmp_path / "changed")
    assert [line["loss"] for line in plain] != [line["loss"] for line in changed]


@pytest.mark.slow
def test_measured_on_prompts_that_it_does_not_learn_from(world, tmp_path):
    settings = config(world, measured(world), eval_steps=2)
    _, _, data, heldout_eval = prepare(settings)
    assert len(heldout_eval.prompts) == 2
    assert (len(data.train), data.num_left_out) == (32, 8)
    result = train(settings, tmp_path)
    assert result["before"]["eval_kl"] == pytest.approx(0.0, abs=1e-6)
    assert result["after"]["eval_kl"] == result["kl"] > 0.01
    assert result["after"]["eval/a"] > result["before"]["eval/a"]
    steps = [line["step"] for line in metrics(tmp_path) if "eval_kl" in line]
    assert steps == [2, 4]
    assert "eval_score" not in result["after"]  # no `reward` was given


@pytest.mark.slow
def test_an_adapter_of_peft_goes_on_from_its_own_start(world, tmp_path):
    save_peft_adapter(world / "model", tmp_path / "start", modules_to_save=["lm_head"])
    lora = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 0.03}
    settings = config(world, measured(world), eval_steps=2, **lora).model_copy(
        update={"model": str(tmp_path / "start")}
    )
    result = train(settings, tmp_path / "run")
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result["before"]["eval_kl"] == 0.0
    assert result["kl"] > 0.01
    tokens, whole = torch.tensor([[1, 4, 5, 4]]), load_causal_lm(tmp_path / "run" / "model")
    again = load_by_peft(world / "model", tmp_path / "run" / "adapter")
    torch.testing.assert_close(again(tokens).logits, whole(tokens).logits, rtol=1e-4, atol=1e-4)


def test_targets_know_of_flips_and_ties(world, tmp_path):
    pairs = [
        Preference("a", " a", " b", flip=0.2),
        Preference("a", " a", " b", target=0.5, flip=0.2),
        Preference("a", " a " * 40, " b"),
        Preference("a", " a", " b", flip=0.2, flip_kind="careless", guess=0.9, lower=0.5, chance=0.3),
    ]
    write_jsonl(tmp_path / "train.jsonl", pairs)
    data = prepare(config(world, {"data": str(tmp_path)})).data
    assert [(pair.target, pair.flip, pair.guess) for pair in data.train] == [
        (0.8, 0, 0.5),
        (0.5, 0, 0.5),
        (1, 0.2, 0.9),
    ]
    assert [pair.interval for pair in data.train] == [(0.0, math.inf, 0.5)] * 2 + [(0.5, math.inf, 0.3)]
    assert data.num_left_out == 1
    data = prepare(config(world, {"data": str(tmp_path)}, use_flip=False, max_length=64)).data
    assert [(pair.target, pair.flip) for pair in data.train] == [(1.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    assert data.train[0].chosen[-1] == data.train[0].rejected[-1] == 2  # both end with the end token


def test_held_out_pairs_by_hand():
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, -3.0], [-1.0, -1.0]])
    ref = torch.tensor([[-1.5, -2.0], [-2.0, -3.0], [-1.0, -1.0]])
    pairs = [TokenizedPair([], [], [], target, weight) for target, weight in ((1.0, 5.0), (0.8, 1.0), (0.5, 0.2))]
    found = evaluate_pairs(logprobs, ref, pairs, 2.0)
    # gains 0.5, -1 and 0 times beta 2; log(1 + e^-1) = 0.313262, log(1 + e^2) = 2.126928, log(1 + e^-2) = 0.126928
    wanted = (0.313262 + 0.8 * 2.126928 + 0.2 * 0.126928 + math.log(2)) / 3
    assert found == pytest.approx({"accuracy": 0.5, "log_loss": wanted}, abs=1e-6)  # right, wrong, and a tie
    assert evaluate_pairs(logprobs[:0], ref[:0], [], 2.0) == {"accuracy": None, "log_loss": None}


def test_what_cannot_be_used_is_named(world, tmp_path):
    with pytest.raises(ConfigError, match="^data: give a folder with train.jsonl"):
        prepare(config(world, {"data": ""}))
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(ConfigError, match="pairs.jsonl is a file; give a folder with train.jsonl: `likelier data"):
        prepare(config(world, {"data": str(tmp_path / "pairs.jsonl")}))
    with pytest.raises(DataError, match="no pair is left to learn from; the longest may have 2 tokens"):
        prepare(config(world, max_length=2))
    with pytest.raises(ConfigError, match="eval_steps: nothing to measure by"):
        prepare(config(world, eval_steps=1))
