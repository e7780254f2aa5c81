"""Supervised fine-tuning: what is learned and what is not, from scratch and from a model, resumed to the same bits."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from likelier.config import SFTConfig, build_config
from likelier.errors import ConfigError, DataError, NumericError
from likelier.files import write_jsonl
from likelier.finetune import sft
from likelier.finetune.examples import TokenizedExample
from likelier.finetune.sft import mask_targets, pad_examples, token_sums, train_sft
from likelier.runs.run import Run
from likelier.stages import STAGES
from likelier.text import logprobs
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.sampler import Sampling
from likelier.training.setup import seeded_generator
from model_families import VOCABULARY, tiny_model
from peft_folders import save_peft_adapter
from samplers import sample
from tiny import save_tiny_model

SMALL = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    save_tiny_model(folder / "model", words=["sky", "grass", "blue", "green"])
    answers = {"sky": " blue", "grass": " green"}
    write_jsonl(folder / "pairs.jsonl", [{"prompt": p, "completion": c} for p, c in answers.items()] * 40)
    (folder / "story.txt").write_text("the sky is blue .\n<|endoftext|>\nthe grass is green .\n<|endoftext|>\n" * 20)
    return folder


def config(world, data="pairs.jsonl", model="model", **settings):
    block = {"batch_size": 8, "learning_rate": 0.01, "save_steps": 2, "device": "cpu", **settings}
    return build_config({"model": model and str(world / model), "data": str(world / data), "sft": block})


def train(config, folder, resume="never"):
    with Run(folder, "sft", config, resume) as run:
        return train_sft(config, run)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_learns_the_answers_and_writes_a_model_that_gives_them(world, tmp_path):
    result = train(config(world, num_epochs=4, learning_rate=0.03), tmp_path / "run")
    assert (result["steps"], result["optimizer_steps"]) == (38, 38)  # 80 pairs, 4 held out, 4 passes, batches of 8
    assert result["loss"] < 0.05
    assert result["valid_loss"] < 0.05
    folder = tmp_path / "run/model"
    sampling, draw = Sampling(response_length=4, temperature=0.1), seeded_generator(0, 0, "test")
    found = sample(load_causal_lm(folder), load_tokenizer(folder), ["sky", "grass"], sampling, draw)
    assert [text.strip() for text in found.texts] == ["blue", "green"]
    assert found.stop_reasons == ["end_token", "end_token"]


@pytest.mark.slow
def test_measured_on_prompts_that_it_does_not_learn_from(world, tmp_path):
    (tmp_path / "blue.py").write_text(
        "def blue(prompts, responses):\n    return [float('blue' in r) for r in responses]\n"
    )
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": "sky"}, {"prompt": "grass"}])
    base = config(world, eval_steps=2, max_steps=4, learning_rate=0.03).model_dump()
    base |= {"prompts": str(tmp_path / "prompts.jsonl"), "reward": [{"function": f"{tmp_path / 'blue.py'}:blue"}]}
    base["ppo"] |= {"response_length": 4}
    result = train(build_config(base), tmp_path / "run")
    assert result["examples"] == 40  # one of two prompts is held out
    assert result["before"]["eval_kl"] == pytest.approx(0.0, abs=1e-6)
    assert abs(result["after"]["eval_kl"]) > 0.01
    assert [line["step"] for line in metrics(tmp_path / "run") if "eval_score" in line] == [2, 4]
    plain = train(config(world, max_steps=4, learning_rate=0.03), tmp_path / "plain")
    assert "after" not in plain
    with pytest.raises(ConfigError, match="eval_steps: a model from scratch has no start"):
        config(world, "story.txt", "", architecture=SMALL, eval_steps=1)


@pytest.mark.slow
def test_from_scratch_on_a_text(world, tmp_path):
    result = train(config(world, "story.txt", "", architecture=SMALL, num_epochs=20), tmp_path / "run")
    # Two stories, equally likely: one choice is left in six tokens (the, sky or grass, is, a colour, a stop, the end).
    assert result["valid_loss"] == pytest.approx(math.log(2) / 6, abs=0.03)
    assert load_tokenizer(tmp_path / "run/model").tokenize("the sky") == ["the", " sky"]


def test_metrics_have_their_names(world, tmp_path):
    train(config(world, max_steps=2), tmp_path)
    first, second = metrics(tmp_path)
    assert all(STAGES["sft"].find_metric(name) for name in first)
    assert first.keys() >= {"loss", "mean_token_accuracy", "num_tokens", "learning_rate", "grad_norm"}
    assert (first["optimizer_steps"], second["optimizer_steps"]) == (1, 2)
    assert first["learning_rate"] == 0.01
    assert second["learning_rate"] == 0.005
    assert (first["num_tokens"], second["num_tokens"]) == (32, 64)  # 8 times <s> sky blue </s>


def test_untrained_loss_is_that_of_the_responses_alone(world, tmp_path):
    """The loss of the first step by hand: -log p of ` blue` and `</s>` (or ` green` and `</s>`) behind each prompt."""
    train(config(world, max_steps=1, batch_size=80), tmp_path)
    model, tokenizer = load_causal_lm(world / "model"), load_tokenizer(world / "model")
    by_prompt = {}
    for prompt, answer in (("sky", "blue"), ("grass", "green")):
        ids = [1, *tokenizer.convert_tokens_to_ids([prompt, answer]), 2]
        logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].detach(), -1)
        by_prompt[prompt] = -float(logprobs[1, ids[2]] + logprobs[2, ids[3]]) / 2
    batch = sft.prepare(config(world, max_steps=1, batch_size=80)).data.batch(0)
    sky = sum(example.tokens[1] == tokenizer.convert_tokens_to_ids("sky") for example in batch)
    expected = (sky * by_prompt["sky"] + (80 - sky) * by_prompt["grass"]) / 80
    assert metrics(tmp_path)[0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_micro_batches_change_nothing(world, tmp_path):
    train(config(world, "story.txt", "model", max_steps=3, batch_size=7), tmp_path / "whole")
    train(config(world, "story.txt", "model", max_steps=3, batch_size=7, micro_batch_size=2), tmp_path / "cut")
    for whole, cut in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"), strict=True):
        assert cut == pytest.approx(whole, abs=1e-4)


def test_resumed_run_ends_with_the_same_bits(world, tmp_path, monkeypatch):
    settings = config(world, "story.txt", "", architecture=SMALL, max_steps=6)
    train(settings, tmp_path / "whole")
    update, taken = sft.update, []

    def killed_at_the_sixth(*given):
        taken.append(1)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return update(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sft, "update", killed_at_the_sixth)
        train(settings, tmp_path / "killed")
    train(settings, tmp_path / "killed", "auto")
    for name in (
        "metrics.jsonl",
        "model/model.safetensors",
        "model/tokenizer.json",
        "checkpoint-6/optimizer.safetensors",
    ):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_an_adapter_learns_resumes_to_the_same_bits_and_is_merged(world, tmp_path):
    settings = config(world, lora_rank=4, num_epochs=3, learning_rate=0.05, save_total_limit=20)
    result = train(settings, tmp_path / "run")
    assert result["loss"] < metrics(tmp_path / "run")[0]["loss"] - 0.1  # no more: the output layer stays random
    base, whole = load_causal_lm(world / "model"), load_causal_lm(tmp_path / "run/model")
    changed = {name for name, weight in whole.named_parameters() if not torch.equal(weight, base.get_parameter(name))}
    assert changed
    assert all(name.split(".")[-2].endswith("_proj") for name in changed)
    saved = load_file(tmp_path / "run/checkpoint-4/model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) < base.num_parameters() / 2
    assert (tmp_path / "run/adapter/adapter_model.safetensors").exists()
    names = ("metrics.jsonl", "model/model.safetensors", "checkpoint-6/model.safetensors")
    wanted = [(tmp_path / "run" / name).read_bytes() for name in names]
    train(settings, tmp_path / "run", str(tmp_path / "run/checkpoint-4"))
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == wanted


@pytest.mark.slow
def test_an_adapter_of_peft_goes_on_and_resumes_to_the_same_bits(world, tmp_path):
    theirs = save_peft_adapter(world / "model", tmp_path / "start")
    settings = config(world, lora_rank=4, lora_alpha=8, num_epochs=1, learning_rate=0.02, save_total_limit=20)
    settings = settings.model_copy(update={"model": str(tmp_path / "start")})
    model = sft.prepare(settings).model
    tokens = torch.tensor([[1, 4, 5, 4]])
    torch.testing.assert_close(model(tokens).logits, theirs(tokens).logits, rtol=1e-5, atol=1e-5)
    result = train(settings, tmp_path / "run")
    assert result["loss"] < metrics(tmp_path / "run")[0]["loss"]
    names = ("metrics.jsonl", "model/model.safetensors", "adapter/adapter_model.safetensors")
    wanted = [(tmp_path / "run" / name).read_bytes() for name in names]
    train(settings, tmp_path / "run", str(tmp_path / "run/checkpoint-4"))
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == wanted


def test_another_seed_is_another_model(world, tmp_path):
    settings = config(world, "story.txt", "", architecture=SMALL, max_steps=1)
    for seed in (0, 1):
        train(settings.model_copy(update={"seed": seed}), tmp_path / str(seed))
    assert metrics(tmp_path / "0") != metrics(tmp_path / "1")


def test_passes_follow_each_other_and_each_holds_every_example(world):
    data = sft.prepare(config(world, num_epochs=2, batch_size=16)).data
    assert data.steps == 10  # 76 examples twice, in batches of 16
    taken = [example for step in range(10) for example in data.batch(step)]
    assert len(data.batch(9)) == 8
    assert sorted(taken) == sorted(data.train * 2)


def test_target_mask_by_hand():
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    targets = mask_targets(mask, torch.tensor([1, 3]))
    assert targets.tolist() == [[False, True, True, False], [False, False, False, True]]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": "absent.jsonl"}, DataError, "absent.jsonl: no such file"),
        ({"model": ""}, ConfigError, "give either model"),
        ({"architecture": SMALL}, ConfigError, "give either model"),
        ({"model": "", "architecture": {**SMALL, "hiden_size": 8}}, ConfigError, "did you mean `hidden_size`"),
        ({"model": "", "architecture": {**SMALL, "model_type": "lama"}}, ConfigError, "'lama'"),
        ({"model": "", "architecture": {**SMALL, "hidden_size": 33}}, ConfigError, "33"),
        ({"model": "", "architecture": SMALL, "tokenizer": "bpe", "vocab_size": 100}, ConfigError, "260"),
        ({"max_length": 1}, DataError, "no prompt leaves room"),
    ],
)
def test_refusals_in_one_line_that_leave_nothing(world, tmp_path, change, error, words):
    with pytest.raises(error, match=words) as caught:
        train(config(world, **change), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_no_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="data"):
        train(build_config({"model": "gpt2"}), tmp_path / "run")


def test_stops_before_numbers_that_are_not_finite_reach_the_weights(world, tmp_path, monkeypatch):
    def broken(model, batch, bf16):
        total = sum(parameter.sum() for parameter in model.parameters())
        return total * float("nan"), torch.zeros(())

    monkeypatch.setattr(sft, "token_sums", broken)
    with pytest.raises(NumericError, match="5 updates in a row"):
        train(config(world, num_epochs=4), tmp_path)


class LargestLogits(TorchDispatchMode):
    """Records the most rows of any tensor that is computed and as wide as the vocabulary."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.dim() > 1 and tensor.shape[-1] == VOCABULARY:
                self.rows = max(self.rows, tensor.numel() // VOCABULARY)
        return made


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_large_vocabulary_is_read_in_parts_for_the_same_loss_and_gradients(family, monkeypatch):
    model = tiny_model(family)
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 60, (length,), generator=draw).tolist() for length in (30, 25, 20)]
    batch = pad_examples([TokenizedExample(row, 4) for row in rows])  # 63 targets of 75 tokens
    found = []
    for most in (10**9, 8 * VOCABULARY):
        monkeypatch.setattr(logprobs, "MAX_LOGITS", most)
        model.zero_grad()
        with LargestLogits() as largest:
            loss, right = token_sums(model, batch, SFTConfig())
            loss.backward()
        gradients = [weight.grad.clone() for weight in model.parameters()]
        found.append((largest.rows, loss.detach(), right, *gradients))
    (whole, *wanted), (part, *ours) = found
    assert whole == 90  # three rows of 30
    assert part == 16  # the hidden size: the transposed gradient of the output layer; logits have 8 rows
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
