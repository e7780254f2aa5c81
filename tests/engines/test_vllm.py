"""The real vLLM of `make engines`, on tiny models: `pytest -m engine`. It starts in half a minute: one serves many."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from likelier.config import LoRA
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.text.adapters import add_adapter, copy_sharing_weights
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.sampler import Samples, Sampling, draw_uniforms
from likelier.training.setup import seeded_generator
from model_families import tiny_tokenizer

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
PROMPTS = ["abc", "the cat sat", "x"] * 4
SMALL = {"kv_cache_memory_bytes": 1 << 26}


@pytest.fixture(autouse=True)
def engine_is_here():
    if not PYTHON.is_file():
        pytest.skip("no .venv-vllm: make engines")


def make_model(family="llama", seed=0, **settings):
    """Two heads of 32: vLLM's CPU build knows none below. Weights are wide, so that distributions are far from flat."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    if family == "qwen3":
        sizes |= {"num_key_value_heads": 1, "head_dim": 32}
    if family == "gpt2":
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128}
    ids = {"vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **ids, **sizes, **settings)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(std=0.15)
    return model


def adapt(model):
    base = copy_sharing_weights(model)
    add_adapter(model, LoRA(lora_rank=4), "ppo", seeded_generator(0, 0, "lora"))
    change_adapter(model, 1)
    return base


def change_adapter(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1, generator=generator)


def make_sampler(model, **settings):
    return VLLMSampler(model, tiny_tokenizer(), EngineSettings(str(PYTHON), SMALL, **settings))


def draw(sampler, sampling, seed=0, prompts=PROMPTS) -> Samples:
    draws = draw_uniforms(torch.Generator().manual_seed(seed), len(prompts), sampling.response_length, "cpu")
    return sampler.sample(prompts, sampling, draws)


def measure_gap(model, samples, temperature=1.0):
    parts = samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask
    ours, _ = compute_response_logprobs(model, *parts, temperature)
    return float((ours.detach() - samples.logprobs)[samples.mask].abs().max())


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_whole_models_whose_output_layer_is_the_embedding(family):
    model, tokenizer = make_model(family, tie_word_embeddings=True), tiny_tokenizer()
    model.generation_config.eos_token_id = [2, 9, 20]
    sampler, sampling = make_sampler(model), Sampling(12, temperature=0.9, stop_strings=("b",))
    first, again, other = (draw(sampler, sampling, seed) for seed in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert not torch.equal(first.tokens, other.tokens)
    assert measure_gap(model, first, 0.9) < 2e-5
    letter = tokenizer("b", add_special_tokens=False)["input_ids"][0]
    samples = draw(sampler, sampling, 2, PROMPTS * 8)
    assert {"end_token", "stop_string", "length"} == set(samples.stop_reasons)
    ends = {"end_token": {2, 9, 20}, "stop_string": {letter}}
    every = ends["end_token"] | ends["stop_string"]
    for row, reason in enumerate(samples.stop_reasons):
        *before, last = samples.tokens[row, samples.mask[row]].tolist()
        assert every.isdisjoint(before)
        assert last in ends.get(reason, set(range(64)) - every)
        assert len(before) == 11 or reason != "length"
        assert "b" not in samples.texts[row]
    changed = make_model(family, seed=1, tie_word_embeddings=True)
    sampler.load_weights(changed)
    assert measure_gap(changed, draw(sampler, sampling), 0.9) < 2e-5
    with torch.no_grad():
        changed.get_output_embeddings().weight.mul_(0.5)
    sampler.load_weights(changed)
    assert measure_gap(changed, draw(sampler, Sampling(12, end_token=False))) < 2e-5
    truncated = draw(sampler, Sampling(12, top_k=1), 3)
    assert truncated.logprobs.count_nonzero() == 0
    assert torch.equal(truncated.tokens, draw(sampler, Sampling(12, top_k=1), 4).tokens)


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # GPT-2 takes no adapters: merged
def test_adapters(family):
    model = make_model(family)
    base = adapt(model)
    sampler = make_sampler(model)
    sampler.load_weights(base)
    assert measure_gap(base, draw(sampler, Sampling(12))) < 2e-5
    for seed in (1, 2):
        change_adapter(model, seed)
        sampler.load_weights(model)
        assert measure_gap(model, draw(sampler, Sampling(12))) < 2e-5
    sampler.load_weights(base)
    assert measure_gap(base, draw(sampler, Sampling(12))) < 2e-5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A task with a known best answer: eight letters, all of them a, whose score is 8."""
    folder = tmp_path_factory.mktemp("world")
    make_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    prompts = [json.dumps({"prompt": f"{a} {b}"}) + "\n" for a in "abcdefgh" for b in "klmnopqr"]
    (folder / "prompts.jsonl").write_text("".join(prompts))
    (folder / "reward.py").write_text(
        "def count_a(prompts, responses):\n    return [float(response.count('a')) for response in responses]\n"
    )
    (folder / "ppo.yaml").write_text(
        f"""model: {folder}/model
prompts: {folder}/prompts.jsonl
reward: [{{function: {folder}/reward.py:count_a}}]
ppo:
  algorithm: rloo
  sampler: vllm
  engine_args: {json.dumps(SMALL)}
  total_episodes: 1280
  batch_size: 64
  responses_per_prompt: 4
  response_length: 8
  stop_token: null
  learning_rate: 3.0e-3
  kl_coef: 0.0
  num_eval_prompts: 8
  save_steps: 5
  device: cpu
"""
    )
    return folder


def likelier(python, *arguments, env=None):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | (env or {})
    command = [str(python), "-m", "likelier", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("ahead", [0, 2])
def test_ppo_learns_and_a_run_whose_engine_died_goes_on_as_if_it_had_not(world, tmp_path, ahead):
    own = f"ppo.engine_python={PYTHON}", f"ppo.async_steps={ahead}"
    whole = likelier(sys.executable, "ppo", world / "ppo.yaml", *own, "--out", tmp_path / "whole", "--json")
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    assert json.loads(out)["score_after"] > 7
    lines = read_metrics(tmp_path / "whole")
    assert all(line["first_ratio_deviation"] == 0 for line in lines)
    assert all(line["sampler_difference_max"] < 1e-4 for line in lines if not line.get("staleness"))

    killed = likelier(sys.executable, "ppo", world / "ppo.yaml", *own, "--out", tmp_path / "killed")
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 7):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.1)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    (engine,) = [child for child in children if b"worker.py" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(int(engine), signal.SIGKILL)
    _, err = killed.communicate()
    assert killed.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("likelier: the process of vLLM ended by signal 9; its log: ")
    Path(last.split("its log: ")[1].split(";")[0]).unlink()
    resumed = likelier(
        sys.executable, "ppo", world / "ppo.yaml", *own, "--out", tmp_path / "killed", "--resume", "auto"
    )
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert metrics.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_ppo_with_an_adapter_in_the_process_of_vllm(world, tmp_path):
    settings = ["ppo.lora_rank=8", "ppo.learning_rate=1e-2", "--out", tmp_path / "run", "--json"]
    run = likelier(PYTHON, "ppo", world / "ppo.yaml", *settings)
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert json.loads(out)["score_after"] > 6  # the only line of stdout
    assert all(line["sampler_difference_max"] < 1e-4 for line in read_metrics(tmp_path / "run"))


def test_candidates(world, tmp_path):
    given = ["--model", world / "model", "--prompts", world / "prompts.jsonl", "-o", tmp_path / "out.jsonl"]
    given += ["--response-length", 8, "--sampler", "vllm", "--engine-python", PYTHON.parents[1]]
    run = likelier(
        sys.executable, "candidates", *given, "--engine-args", json.dumps(SMALL), "--device", "cpu", "--json"
    )
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert json.loads(out) == {"prompts": 64, "responses": 128}
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sum(len({each["text"] for each in record["responses"]}) == 2 for record in records) > 50  # some are empty
