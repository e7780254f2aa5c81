"""vLLM in a process of its own: what goes over the pipe, and how it ends."""

import re
import stat
import sys
from pathlib import Path

import pytest
import torch

from likelier.engines.process import EngineProcess
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.engines.weights import SharedMemory
from likelier.engines.worker import read_weights
from likelier.errors import ConfigError, LikelierError
from likelier.text.sampler import Sampling
from model_families import tiny_model, tiny_tokenizer

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def python(tmp_path):
    """A Python that has the small vLLM of `tests/fakes`."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={FAKES} exec {sys.executable} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_weights_come_out_of_the_memory_as_they_went_in():
    memory = SharedMemory()
    weights = {
        "a.weight": torch.arange(6.0).view(2, 3).t(),  # not contiguous
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "count": torch.tensor(7),
    }
    for factor in (1, 2):  # the second time in the place of the first
        described = memory.write((name, tensor * factor) for name, tensor in weights.items())
        read = dict(read_weights(memory.number, **described))
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[name], tensor * factor) for name, tensor in weights.items())
        assert all(read[name].dtype == tensor.dtype for name, tensor in weights.items())
        memory.clear()
    memory.close()


@pytest.mark.slow
def test_the_same_responses_in_a_process_of_its_own_and_its_end_in_one_line(python):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    sampler = VLLMSampler(model, tokenizer, EngineSettings(str(python)))
    draws = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    first = sampler.sample(["abc", "x"], Sampling(6), draws)
    engine = sampler.engine
    assert isinstance(engine, EngineProcess)
    with pytest.raises(LikelierError, match=r"^vLLM: generate: KeyError: 'temperature'$"):
        engine.generate([[1]], [1], {"max_tokens": 1})
    assert torch.equal(sampler.sample(["abc", "x"], Sampling(6), draws).tokens, first.tokens)  # it goes on
    engine.child.process.kill()
    line = r"^the process of vLLM ended by signal 9; its log: (\S+likelier-vllm-\S+\.log); start again"
    with pytest.raises(LikelierError, match=line) as ended:
        sampler.sample(["abc"], Sampling(6), draws[:1])
    kept = Path(re.match(line, str(ended.value))[1])
    assert "vLLM speaks on stdout" in kept.read_text()
    kept.unlink()
    engine.close()


@pytest.mark.slow
def test_what_the_process_refuses_is_told_and_it_ends(python):
    with pytest.raises(ConfigError, match=r"^vLLM: start: ValueError: too large$"):
        EngineProcess(python, {"model": "nowhere", "refuse": "too large"})


def test_a_python_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"engine_python: .*: cannot be started \(Permission denied\)"):
        EngineProcess(tmp_path, {})
