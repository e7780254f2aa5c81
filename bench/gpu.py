"""PPO on one GPU: tokens a second, shares of bandwidth and arithmetic reached, memory beside `likelier plan`'s.

`python bench/gpu.py [R 0.5B 1.5B] [--seconds 400] [--json FILE]`; `bench/gpu.sh` runs it after the tests marked
`cuda`. Models have random weights: R has SmolLM2-135M's shape, the others those of Qwen2.5. Each is trained with LoRA
over a bfloat16 base and whole under autocast to bfloat16, then, while seconds are left, with LoRA over a 4-bit base:
64 responses of 128 tokens to prompts of 64 in each of three iterations, of which the first warms up. Policy, critic,
reference and reward model have the same shape; whole models have a critic of their own. Without a GPU it trains the
size S alone, in float32, so that the script itself is tried; the column of the GPU says "not measured".

The arithmetic of an update is 6 operations a weight and token, 4 where the weight is frozen, of policy and critic;
recomputation is not counted. The traffic of sampling is the weights once a token and batch.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from likelier.config import build_config
from likelier.plan.machine import GB, GPUS, match_gpu
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.reward_model import new_reward_model

LLAMA = {"model_type": "llama", "tie_word_embeddings": True, "max_position_embeddings": 2048}
SHAPES: dict[str, dict[str, Any]] = {
    "S": LLAMA | {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4,
                  "num_key_value_heads": 4, "vocab_size": 4096},
    "R": LLAMA | {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                  "num_key_value_heads": 3, "vocab_size": 49152},
    "0.5B": LLAMA | {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
                     "num_key_value_heads": 2, "vocab_size": 151936},
    "1.5B": LLAMA | {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                     "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936},
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA, bf16": {"lora_rank": 16, "critic": "adapter", "model_dtype": "bfloat16", "bf16": True},
    "whole, bf16": {"bf16": True},
    "LoRA, 4 bits": {"lora_rank": 16, "critic": "adapter", "model_dtype": "4bit", "bf16": True},
}
PROMPT_TOKENS, RESPONSE_TOKENS, RESPONSES, STEPS = 64, 128, 64, 3
HEADER = (
    "| model | trained | GPU | sampled tokens a second | share of bandwidth | trained tokens a second | "
    "share of arithmetic | most memory, GB | planned, GB |\n|---|---|---|---|---|---|---|---|---|"
)


class Speeds(NamedTuple):
    """Rates of a GPU's datasheet, or None for what is not in the table."""

    name: str
    bandwidth: float | None
    arithmetic: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", help="of the models; default: R 0.5B 1.5B, without a GPU S")
    parser.add_argument("--seconds", type=float, default=400.0, help="no model is begun after that")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    has_gpu, end = torch.cuda.is_available(), time.monotonic() + given.seconds
    sizes = given.sizes or (["R", "0.5B", "1.5B"] if has_gpu else ["S"])
    settings = SETTINGS if has_gpu else {"whole, float32": {}}
    print(HEADER, flush=True)
    results = []
    for trained in settings:
        for size in sizes:
            if time.monotonic() > end:
                print(f"| {size} | {trained} | not measured: no time left | | | | | | |", flush=True)
                continue
            results.append(measure_apart(size, trained, settings[trained]))
            print(describe(results[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


def measure_apart(size: str, trained: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Measure in a process of its own, which gives all memory back, beside the plan of the same config."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (size, settings, folder))
        command = [sys.executable, "-m", "likelier", "plan", str(folder / "c.yaml"), "--no-calibrate", "--json"]
        planned = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {"size": size, "trained": trained, **found, "planned": planned["stages"]["ppo"]["memory"]["peak_bytes"]}


def measure(size: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train, and return what it took."""
    has_gpu = torch.cuda.is_available()
    make_models(size, folder, torch.bfloat16 if has_gpu else torch.float32)
    config = build_config(write_config(settings, folder))
    with Run(folder / "run", "ppo", config, "never") as run:
        train_ppo(config, run)
    weights = sum(each.numel() for each in AutoModelForCausalLM.from_pretrained(folder / "model").parameters())
    lines = [json.loads(line) for line in (folder / "run" / "timing.jsonl").read_text().splitlines()][1:]
    seconds = {name: statistics.median(line[name] for line in lines) for name in ("sample_seconds", "update_seconds")}
    tokens = RESPONSES * (PROMPT_TOKENS + RESPONSE_TOKENS)
    operations = 2 * (4 if "lora_rank" in settings else 6) * weights * tokens
    speeds = find_speeds()
    return {
        "gpu": speeds.name,
        "weights": weights,
        "sampled_per_second": RESPONSES * RESPONSE_TOKENS / seconds["sample_seconds"],
        "trained_per_second": tokens / seconds["update_seconds"],
        "bandwidth": share(2 * weights * RESPONSE_TOKENS / seconds["sample_seconds"], speeds.bandwidth),
        "arithmetic": share(operations / seconds["update_seconds"], speeds.arithmetic),
        "memory": torch.cuda.max_memory_reserved() if has_gpu else None,
        "seconds": seconds,
    }


def make_models(size: str, folder: Path, dtype: torch.dtype) -> None:
    """Save a policy and a reward model with random weights, and prompts of numbered words."""
    config = AutoConfig.for_model(**SHAPES[size], bos_token_id=None, eos_token_id=0, pad_token_id=0)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(config.vocab_size)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", pad_token="w0")
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    reward = new_reward_model(folder / "model")
    reward.model.to(dtype).save_pretrained(folder / "reward")
    reward.tokenizer.save_pretrained(folder / "reward")
    rows = torch.randint(2, config.vocab_size, (RESPONSES * STEPS, PROMPT_TOKENS)).tolist()
    lines = (json.dumps({"prompt": " ".join(f"w{token}" for token in row)}) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text("".join(lines))


def write_config(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the config of a run, and return it."""
    ppo = {
        "total_episodes": RESPONSES * STEPS, "batch_size": RESPONSES, "num_mini_batches": 4, "num_ppo_epochs": 1,
        "micro_batch_size": 16, "response_length": RESPONSE_TOKENS, "stop_token": None, "num_eval_prompts": 4,
        "save_steps": STEPS,
    }  # fmt: skip
    config = {
        "model": str(folder / "model"),
        "prompts": str(folder / "prompts.jsonl"),
        "reward": [{"model": str(folder / "reward")}],
        "ppo": ppo | settings,
    }
    (folder / "c.yaml").write_text(json.dumps(config))
    return config


def find_speeds() -> Speeds:
    """Return the datasheet's rates of the GPU that is here."""
    if not torch.cuda.is_available():
        return Speeds("not measured", None, None)
    name = torch.cuda.get_device_name()
    known = match_gpu(name)
    return Speeds(name, GPUS[known].bandwidth * GB, GPUS[known].half * 1e12) if known else Speeds(name, None, None)


def share(reached: float, possible: float | None) -> float | None:
    """Return the share of what is possible; None where that is unknown."""
    return reached / possible if possible else None


def describe(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    shares = ["–" if found[name] is None else f"{found[name]:.0%}" for name in ("bandwidth", "arithmetic")]
    memory = "–" if found["memory"] is None else f"{found['memory'] / GB:.1f}"
    return (
        f"| {found['size']} | {found['trained']} | {found['gpu']} | {found['sampled_per_second']:,.0f} | {shares[0]} "
        f"| {found['trained_per_second']:,.0f} | {shares[1]} | {memory} | {found['planned'] / GB:.1f} |"
    )


if __name__ == "__main__":
    main()
