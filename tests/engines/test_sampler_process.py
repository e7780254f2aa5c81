"""Our sampler in a process of its own: the same bits, the weights of the moment, and its end in one line."""

import re
import signal
from pathlib import Path

import pytest
import torch

from likelier.config import build_config
from likelier.engines.sampler_process import SamplerProcess
from likelier.errors import DataError, LikelierError
from likelier.text.adapters import apply_lora
from likelier.text.exact_sampler import ExactSampler, load_tools
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.sampler import AsyncSampler, Sampling
from tiny import save_tiny_model

TOOL = """
def a(text):
    return "b b"
"""


@pytest.fixture
def world(tmp_path):
    """A model that often calls its tool, and the settings of an adapter on it."""
    folder = save_tiny_model(tmp_path / "model", words=["<a>", "</a>", "b"])
    model = load_causal_lm(folder)
    (tmp_path / "tool.py").write_text(TOOL)
    ppo = {"lora_rank": 2, "tools": [f"{tmp_path}/tool.py:a"], "async_steps": 1, "device": "cpu"}
    config = build_config({"model": str(folder), "ppo": ppo})
    apply_lora(model, config.ppo, "ppo", config.seed)
    return config, model, load_tokenizer(folder)


def change(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.5, generator=generator)


def is_same(found, wanted):
    assert (found.prompts, found.texts, found.stop_reasons) == (wanted.prompts, wanted.texts, wanted.stop_reasons)
    names = ("prompt_tokens", "prompt_mask", "tokens", "mask", "logprobs", "inserted")
    return all(torch.equal(getattr(found, name), getattr(wanted, name)) for name in names)


@pytest.mark.slow
def test_it_draws_what_the_trainer_would_have_drawn_with_the_weights_of_the_moment(world):
    config, model, tokenizer = world
    sampler, ours = SamplerProcess(config, model, tokenizer), ExactSampler(model, tokenizer, 64, load_tools(config.ppo))
    assert isinstance(sampler, AsyncSampler)
    prompts, sampling = ["<a>", "b <a> b", "<a> b"] * 6, Sampling(12, stop_strings=("b b b",))
    draws = torch.rand(18, 12, generator=torch.Generator().manual_seed(1))
    asked = []
    for version in (1, 2):
        change(model, version)
        sampler.load_weights(model)
        asked.append((sampler.ask(prompts, sampling, draws), ours.sample(prompts, sampling, draws)))
    (wait, first), (wait_longer, second) = asked
    assert is_same(wait_longer(), second)  # whoever waits first
    assert is_same(wait(), first)
    assert not torch.equal(first.logprobs, second.logprobs)
    assert first.inserted.any()
    with pytest.raises(DataError, match="prompt 1 has 71 tokens, at most 62 fit"):
        sampler.sample(["b " * 70], Sampling(2), torch.zeros(1, 2))
    process = sampler.child.process
    sampler.child.close()
    assert process.poll() is not None


@pytest.mark.slow
def test_its_end_is_one_line(world):
    sampler = SamplerProcess(*world)
    sampler.child.process.send_signal(signal.SIGKILL)
    line = r"^the process of the sampler ended by signal 9; its log: (\S+); start again, a run with --resume auto$"
    with pytest.raises(LikelierError, match=line) as ended:
        sampler.sample(["b"], Sampling(2), torch.zeros(1, 2))
    Path(re.match(line, str(ended.value))[1]).unlink()
