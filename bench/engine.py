"""vLLM beside our own sampler on one model: agreement in nats, tokens per CPU-second of both, and its start.

    python bench/engine.py MODEL [--responses 16] [--length 64] [--python .venv-vllm/bin/python]

CPU-seconds are of the process that samples, all threads, in the second call of each; prompts are twelve questions.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from likelier.engines.process import EngineProcess
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Samples, Sampling, draw_uniforms

QUESTIONS = ("What is salt?", "Name two trees.", "Why is the sky blue?", "How do I boil an egg?", "Who wrote Hamlet?")
QUESTIONS += ("What is rust?", "Say hello.", "What do bees eat?", "Is glass a liquid?", "Where is Peru?")
QUESTIONS += ("What is 3 + 4?", "How long is a year?")


def read_cpu_seconds(process: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(sample: Callable[[int], Samples], process: int) -> tuple[float, Samples]:
    """Tokens per CPU-second of the second call, and its samples."""
    sample(0)
    start = read_cpu_seconds(process)
    samples = sample(1)
    return int(samples.mask.sum()) / (read_cpu_seconds(process) - start), samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--responses", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--python")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    model, tokenizer = load_policy(given.model), load_tokenizer(given.model)
    prompts: list[Any] = [[{"role": "user", "content": text}] for text in QUESTIONS]
    prompts = [prompts[row % len(prompts)] for row in range(given.responses)]
    sampling = Sampling(given.length, end_token=False)
    arguments = {"kv_cache_memory_bytes": 1 << 29, "max_model_len": 256 + given.length, "dtype": given.dtype}
    vllm = VLLMSampler(model, tokenizer, EngineSettings(given.python, arguments, given.responses))
    draws = [draw_uniforms(torch.Generator().manual_seed(seed), len(prompts), given.length, "cpu") for seed in (0, 1)]
    begin = time.time()
    vllm.sample(prompts[:1], Sampling(1), draws[0][:1, :1])
    assert isinstance(vllm.engine, EngineProcess)
    process = vllm.engine.process.pid
    start = {"wall_seconds": time.time() - begin, "cpu_seconds": read_cpu_seconds(process)}
    speed, samples = measure(lambda seed: vllm.sample(prompts, sampling, draws[seed]), process)
    own = ExactSampler(model, tokenizer)
    own_speed, _ = measure(lambda seed: own.sample(prompts, sampling, draws[seed]), os.getpid())
    with torch.no_grad():
        parts = samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask
        logprobs, _ = compute_response_logprobs(model, *parts, sampling.temperature)
    gap = (logprobs - samples.logprobs)[samples.mask].abs()
    vllm.load_weights(model)
    begin = time.time()
    vllm.sample(prompts[:1], Sampling(1), draws[0][:1, :1])
    print(
        json.dumps(
            {
                "model": given.model,
                "dtype": given.dtype,
                "tokens": int(samples.mask.sum()),
                "gap_mean": float(gap.mean()),
                "gap_max": float(gap.max()),
                "vllm_tokens_per_cpu_second": round(speed, 1),
                "own_tokens_per_cpu_second": round(own_speed, 1),
                "start": {name: round(value, 1) for name, value in start.items()},
                "handover_seconds": round(time.time() - begin, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
