"""Kept batches come back to the bit, and only for the same model, prompts, sampling and draws."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch

from forked import Forked, run_command
from likelier.evaluation.kept_samples import PART, KeptSamples
from likelier.files import read_json, write_jsonl
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Sampling
from tiny import save_tiny_model

JUDGE = "def kind(prompts, responses):\n    return [float(text.split().count('kind')) for text in responses]\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "m", ["kind", "cruel"])


@pytest.fixture
def sampler(model):
    """One that lists the prompts of each call."""
    exact = ExactSampler(load_policy(model), load_tokenizer(str(model)))
    calls = []

    def sample(prompts, sampling, draws):
        calls.append(list(prompts))
        return exact.sample(prompts, sampling, draws)

    sample.calls = calls
    return sample


DRAWS = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
PROMPTS = ["kind cruel kind", "cruel"]


def test_a_batch_comes_back_to_the_bit(model, sampler, tmp_path):
    given = (str(model), PROMPTS, Sampling(5), DRAWS, sampler)
    first = KeptSamples(tmp_path / PART).sample(*given)
    again = KeptSamples(tmp_path / PART).sample(*given)
    assert sampler.calls == [PROMPTS]
    for name, value in vars(first).items():
        kept = getattr(again, name)
        assert torch.equal(kept, value) and kept.dtype == value.dtype if torch.is_tensor(value) else kept == value


def test_whatever_decides_a_batch_is_part_of_its_key(model, sampler, tmp_path):
    KeptSamples(tmp_path / PART).sample(str(model), PROMPTS, Sampling(5), DRAWS, sampler)
    others = [
        (str(model), ["cruel", "cruel"], Sampling(5), DRAWS),
        (str(model), PROMPTS, Sampling(5, 0.7), DRAWS),
        (str(model), PROMPTS, Sampling(5), 1 - DRAWS),
        ("another", PROMPTS, Sampling(5), DRAWS),
    ]
    for given in others:
        KeptSamples(tmp_path / PART).sample(*given, sampler)
    (model / "model.safetensors").touch()
    KeptSamples(tmp_path / PART).sample(str(model), PROMPTS, Sampling(5), DRAWS, sampler)
    assert len(sampler.calls) == 6


def test_a_line_cut_by_a_kill_is_dropped_and_a_damaged_file_counts_as_none(model, sampler, tmp_path):
    given = (str(model), PROMPTS, Sampling(5), DRAWS, sampler)
    path = tmp_path / PART
    KeptSamples(path).sample(*given)
    whole = path.read_text()
    path.write_text(whole + whole[:30])
    kept = KeptSamples(path)
    assert path.read_text() == whole
    kept.sample(*given)
    assert len(sampler.calls) == 1
    path.write_text("{}}\n" + whole)
    KeptSamples(path).sample(*given)
    assert (len(sampler.calls), path.read_text()) == (2, whole)
    path.write_text('{"key": "a"}\n' + whole)  # of another shape: this was an internal error
    KeptSamples(path).sample(*given)
    assert (len(sampler.calls), path.read_text()) == (3, whole)
    kept.remove()
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), pytest.param(signal.SIGKILL, -9, marks=pytest.mark.battery)]
)
def test_an_evaluation_that_was_stopped_goes_on_by_the_same_command(model, tmp_path, monkeypatch, capfd, number, code):
    monkeypatch.chdir(tmp_path)
    Path("judge.py").write_text(JUDGE)
    write_jsonl(Path("prompts.jsonl"), [{"prompt": " ".join(["cruel"] * (1 + row % 7))} for row in range(60)])
    block = {"model_a": str(model), "model_b": str(model), "prompts": "prompts.jsonl", "batch_size": 4}
    block |= {"scorer": [{"function": "judge.py:kind"}], "response_length": 8, "device": "cpu", "stop_token": None}
    Path("c.yaml").write_text(json.dumps({"eval": block}))
    assert run_command("eval", "c.yaml", "--out", "whole") == 0
    process, part = Forked(tmp_path / "streams", run_command, "eval", "c.yaml"), tmp_path / "runs" / "c-1" / PART
    while process.is_running() and not (part.exists() and part.read_text().count("\n") > 2):
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait() == code
    if number == signal.SIGTERM:
        assert "stopped; go on with: likelier eval c.yaml --out runs/c-1\n" in process.err.read_text()
    num_kept = part.read_text().count("\n")
    capfd.readouterr()
    assert run_command("eval", "c.yaml") == 0
    assert f"runs/c-1/{PART}: goes on from {num_kept} batches that are done\n" in capfd.readouterr().err
    assert read_json(Path("runs/c-1/evaluation.json")) == read_json(Path("whole/evaluation.json"))
    assert [path.name for path in Path("runs").iterdir()] == ["c-1"]
    assert not part.exists()
    assert run_command("eval", "c.yaml") == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["c-1", "c-2"]
