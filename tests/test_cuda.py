"""What only a GPU can show: `bench/gpu.sh` runs these; elsewhere they are skipped."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.sampler import Sampling
from model_families import tiny_model, tiny_tokenizer
from samplers import sample
from tiny_ppo import make_config, make_world

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
]
LENGTH = "def reward(prompts, responses):\n    return [0.5 * len(response) for response in responses]\n"


@pytest.mark.parametrize("family", ["llama", "granite"])
def test_sampling_waits_for_the_device_once_in_four_tokens(family: str) -> None:
    model, tokenizer, waits = tiny_model(family).cuda(), tiny_tokenizer(), {}
    for length in (8, 8, 40):  # the first one checks the model
        generator = torch.Generator("cuda").manual_seed(0)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sample(model, tokenizer, ["abc", "x"], Sampling(length, end_token=False), generator)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits[length] = len([each for each in caught if "synchroniz" in str(each.message)])
    assert waits[40] - waits[8] <= 8


def test_responses_are_those_of_the_cpu() -> None:
    """The same draws, made on the CPU, choose the same tokens but where rounding decides."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    here = sample(model, tokenizer, ["abc", "the cat"], Sampling(16), torch.Generator().manual_seed(0))
    there = sample(model.cuda(), tokenizer, ["abc", "the cat"], Sampling(16), torch.Generator().manual_seed(0))
    same = (here.tokens == there.tokens.cpu()).float().mean()
    assert same > 0.9


@pytest.mark.parametrize("bf16", [False, True])
def test_a_run_learns_and_its_first_ratio_is_one(bf16: bool, tmp_path: Path) -> None:
    world = make_world(tmp_path, LENGTH)
    config = make_config(world, device="cuda", bf16=bf16)
    with Run(tmp_path / "run", "ppo", config, "never") as run:
        train_ppo(config, run)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert lines[0]["first_ratio_deviation"] == 0.0
    assert lines[0]["kl"] == pytest.approx(0.0, abs=1e-6)
