"""Seconds and memory of GRPO with LoRA of rank 16 on a model of a folder, beside TRL's.

`python bench/grpo.py MODEL [--bf16] [--set ppo.old_logprobs=sampler] [--repeats 5] [--threads 2] [--json FILE]`:
iterations of 16 responses of 64 tokens, 8 to each of two prompts, one epoch in one minibatch, a penalty on the KL,
and a function as the reward, each trainer in a process of its own. `LIKELIER_TRL` is the path of a Python that has trl
(measured: 1.16); without it TRL is left out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ppo import PROMPT_TOKENS, RESPONSE_TOKENS, spread

HERE = Path(__file__).parent
PROMPTS, GROUP, RANK = 2, 8, 16
KL_PRICE, STEP_SIZE = 0.05, 1e-4
WORDS = ("stone", "river", "yellow", "under", "before", "quiet", "letter", "market")


def make_prompts(count: int) -> list[str]:
    """Prompts of about as many tokens as those of `ppo.py`."""
    return [
        " ".join(WORDS[(place * (row + 1) + row) % len(WORDS)] for place in range(PROMPT_TOKENS))
        for row in range(count)
    ]


def count_vowels(prompts: list[str], responses: list[str]) -> list[float]:
    """Return the share of vowels in each response."""
    del prompts
    return [sum(letter in "aeiou" for letter in text) / max(1, len(text)) for text in responses]


def measure_ours(model: str, bf16: bool, repeats: int, settings: list[str]) -> dict[str, list[float]]:
    """Return seconds of each iteration after the first, and of its phases."""
    from likelier.config import build_config
    from likelier.rlhf.train import train_ppo
    from likelier.runs.run import Run

    ppo = {"algorithm": "grpo", "responses_per_prompt": GROUP, "batch_size": PROMPTS * GROUP, "num_mini_batches": 1}
    ppo |= {"total_episodes": PROMPTS * GROUP * (repeats + 1), "num_ppo_epochs": 1, "lora_rank": RANK, "bf16": bf16}
    ppo |= {"response_length": RESPONSE_TOKENS, "stop_token": None, "learning_rate": STEP_SIZE, "kl_coef": KL_PRICE}
    ppo |= {"num_eval_prompts": 2, "save_steps": 1000, "device": "cpu"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in make_prompts(4 * PROMPTS * repeats)))
        reward = [{"function": f"{Path(__file__).resolve()}:count_vowels"}]
        config = build_config({"model": model, "prompts": str(prompts), "reward": reward, "ppo": ppo}, settings)
        with Run(folder / "run", "ppo", config) as run:
            train_ppo(config, run)
        lines = [json.loads(line) for line in (folder / "run" / "timing.jsonl").read_text().splitlines()]
    phases = {name: [line[name] for line in lines[1:]] for name in lines[0] if name != "step"}
    return {"iteration": [sum(times) for times in zip(*phases.values(), strict=True)], **phases}


def measure_trl(model: str, bf16: bool, repeats: int) -> dict[str, list[float]]:
    """Return seconds of each iteration after the first, of TRL's trainer."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Laps(TrainerCallback):  # type: ignore[misc]
        """When each iteration ended."""

        times = [time.perf_counter()]

        def on_step_end(self, *_: object, **__: object) -> None:
            self.times.append(time.perf_counter())

    def score(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        return count_vowels(prompts, completions)

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=RESPONSE_TOKENS,
            generation_kwargs={"min_new_tokens": RESPONSE_TOKENS},
            max_steps=repeats + 1,
            beta=KL_PRICE,
            learning_rate=STEP_SIZE,
            use_cpu=True,
            bf16=bf16,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            reward_funcs=score,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": make_prompts(4 * PROMPTS * repeats)}),
            processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        laps = Laps()
        trainer.add_callback(laps)
        trainer.train()
    return {"iteration": [after - before for before, after in zip(laps.times[1:], laps.times[2:], strict=False)]}


def measure(given: argparse.Namespace) -> None:
    """Measure one trainer in this process."""
    torch.set_num_threads(given.threads)
    work = given.model, given.bf16, given.repeats
    laps = measure_trl(*work) if given.only == "TRL" else measure_ours(*work, given.settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    given.json.write_text(
        json.dumps({"seconds": {name: spread(times) for name, times in laps.items()}, "peak_memory_gb": peak}) + "\n"
    )


def call(python: str, only: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure a trainer in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        words = [given.model, "--only", only, "--repeats", str(given.repeats), "--threads", str(given.threads)]
        words += [word for setting in given.settings for word in ("--set", setting)]
        words += ["--json", str(path), *(["--bf16"] if given.bf16 else [])]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
        done = subprocess.run([python, __file__, *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{only}: {done.stderr.strip().splitlines()[-1]}")
        found: dict[str, Any] = json.loads(path.read_text())
    print(f"{only}, {'bf16' if given.bf16 else 'fp32'}: peak {found['peak_memory_gb']:.1f} GB; seconds", flush=True)
    for phase, seconds in found["seconds"].items():
        print(
            f"  {phase.removesuffix('_seconds'):<14}" + "  ".join(f"{key} {each:7.2f}" for key, each in seconds.items())
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of ours")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["Likelier", "TRL"], help="measure it in this process")
    given = parser.parse_args()
    if given.only:
        return measure(given)
    trainers = {"Likelier": sys.executable, "TRL": os.environ.get("LIKELIER_TRL")}
    found = {name: call(python, name, given) for name, python in trainers.items() if python}
    if len(found) == 2:
        ours, theirs = (found[name]["seconds"]["iteration"]["median"] for name in trainers)
        print(f"TRL's seconds over ours: {theirs / ours:.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
