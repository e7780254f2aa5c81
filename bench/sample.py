"""Tokens a second of our sampler beside transformers' `generate`, on random weights; prints a table.

`python bench/sample.py [--sizes S M tiny] [--rows 64] [--repeats 5] [--threads 2] [--json FILE]`. Both sample 64
tokens behind prompts of 32 at temperature 1 without truncation, in one process, in turns, so that what else the machine
does touches both.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import fuse_gelu
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import autocast

SIZES: dict[str, dict[str, Any]] = {
    "S": {"model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4, "vocab_size": 4096},
    "M": {"model_type": "gpt2"},
    "tiny": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512,
    },
}  # fmt: skip
ROWS = {"S": 64, "M": 64, "tiny": 128}
PROMPT_TOKENS, NEW_TOKENS = 32, 64


def build(size: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Random weights, and a tokenizer with a word for each id."""
    torch.manual_seed(0)
    settings = dict(SIZES[size])
    config = AutoConfig.for_model(settings.pop("model_type"), bos_token_id=None, eos_token_id=1, **settings)
    words = Tokenizer(models.WordLevel({f"w{at}": at for at in range(config.vocab_size)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w1")
    return fuse_gelu(AutoModelForCausalLM.from_config(config)).eval(), tokenizer


def ours(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: int, bf16: bool) -> None:
    prompts = [" ".join(["w5"] * PROMPT_TOKENS)] * rows
    sampling = Sampling(NEW_TOKENS, end_token=False, bf16=bf16)
    draws = draw_uniforms(torch.Generator().manual_seed(1), rows, NEW_TOKENS, model.device)
    samples = ExactSampler(model, tokenizer).sample(prompts, sampling, draws)
    assert samples.mask.all()
    assert samples.prompt_tokens.shape[1] == PROMPT_TOKENS


@torch.no_grad()
def theirs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: int, bf16: bool) -> None:
    prompts = torch.full((rows, PROMPT_TOKENS), 5)
    with autocast(model.device, bf16):
        made = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0, pad_token_id=1,
            min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS,
        )  # fmt: skip
    assert made.shape[1] == PROMPT_TOKENS + NEW_TOKENS


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(size: str, bf16: bool, rows: int, repeats: int) -> dict[str, Any]:
    """Median, least and most tokens a second of both."""
    model, tokenizer = build(size)
    rates: dict[str, list[float]] = {"ours": [], "generate": []}
    for turn in range(repeats + 1):
        for name, work in (("ours", ours), ("generate", theirs)):
            rate = rows * NEW_TOKENS / seconds(lambda work=work: work(model, tokenizer, rows, bf16))
            if turn:  # the first turn warms up
                rates[name].append(rate)
    spread = {name: {"median": statistics.median(r), "min": min(r), "max": max(r)} for name, r in rates.items()}
    return {"size": size, "dtype": "bf16" if bf16 else "fp32", "rows": rows, "tokens_per_second": spread}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["S", "M"], choices=SIZES)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rows", nargs="+", type=int, help="responses at once; default: 64, of `tiny` 128")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'size':<6}{'dtype':<7}{'rows':>5}{'ours (min-max)':>26}{'generate (min-max)':>26}{'ratio':>8}   tokens/s")
    found = []
    for size, dtype in product(arguments.sizes, arguments.dtypes):
        for rows in arguments.rows or [ROWS[size]]:
            found.append(measure(size, dtype == "bf16", rows, arguments.repeats))
            rates = found[-1]["tokens_per_second"]
            cells = [f"{r['median']:,.0f} ({r['min']:,.0f}-{r['max']:,.0f})" for r in rates.values()]
            ratio = rates["ours"]["median"] / rates["generate"]["median"]
            print(f"{size:<6}{dtype:<7}{rows:>5}{cells[0]:>26}{cells[1]:>26}{ratio:>8.1f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
