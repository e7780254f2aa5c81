"""Rewards that are checked, not learned: a small model taught by teachers who slip, then paid for right answers only.

    python examples/arithmetic/compare.py carry --seeds 0 1 2 3 4 --out runs/carry
    python examples/arithmetic/compare.py large --seeds 0 1 2 --out runs/large

`carry`: GRPO and PPO against `number_match`, beside SFT on the right answers to the same problems. `large`: GRPO with
and without a calculator that the model calls in its text, from the same start. Accuracy is the share of right answers,
sampled at temperature 1, to 500 problems that no arm has trained on.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from problems import TASKS, write_problems

from likelier.api.train import TrainedRun, train_ppo, train_sft
from likelier.cli import run_script
from likelier.files import write_json

MODEL = {"model_type": "llama", "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3,
         "num_attention_heads": 4, "max_position_embeddings": 64}  # fmt: skip
REWARD = [{"function": "likelier.reward.functions:number_match"}]
SFT = {"architecture": MODEL, "tokenizer": "characters", "learning_rate": 3e-3, "lr_schedule": "cosine",
       "warmup_ratio": 0.05, "batch_size": 64, "num_epochs": 1000, "save_steps": 10_000}  # fmt: skip
TOLD = {"learning_rate": 1e-3, "batch_size": 64, "num_epochs": 5, "save_steps": 10_000}
PPO = {"batch_size": 256, "num_ppo_epochs": 1, "num_mini_batches": 4, "learning_rate": 2e-4, "warmup_ratio": 0.1,
       "kl_coef": 0.0, "save_steps": 10_000}  # fmt: skip
GRPO = PPO | {"algorithm": "grpo", "responses_per_prompt": 8}
CRITIC = PPO | {"critic": "shared", "critic_learning_rate": 1e-3, "cliprange_value": None}
CALCULATOR = {"tools": ["likelier.text.calculator:calc"]}
SIZES = {"carry": (3700, 2500, 1200, 6, 40), "large": (13_000, 3000, 1000, 30, 30)}
"""Taught and asked problems, steps of the first SFT, tokens of a response, steps of PPO."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/arithmetic"))
    parser.add_argument("--short", type=int, default=1, help="divide all steps and responses by this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in given.seeds:
        found.append({"seed": seed} | compare(given.task, given.out / str(seed), seed, given.short))
        print(json.dumps(found[-1]), flush=True)
        write_json(given.out / "accuracy.json", found)


def compare(task: str, out: Path, seed: int, short: int) -> dict[str, Any]:
    """Accuracy of the start and of each arm, by name; runs in `out` that are done are not done again."""
    num_taught, num_problems, sft_steps, length, steps = SIZES[task]
    write_problems(task, out, seed, num_taught, num_problems)
    settings = {"seed": seed, "prompts": str(out / "problems.jsonl"), "reward": REWARD}
    block = SFT | {"max_steps": max(1, sft_steps // short)}
    train_sft(settings | {"data": str(out / "taught.jsonl"), "sft": block}, out / "start", resume="auto")
    settings |= {"model": str(out / "start" / "model")}
    size = {"response_length": length, "total_episodes": 256 * max(1, steps // short), "num_eval_prompts": 500 // short}

    def reward(name: str, ppo: dict[str, Any]) -> TrainedRun:
        return train_ppo(settings | {"ppo": ppo | size}, out / name, resume="auto")

    if task == "large":
        runs = {"grpo, calculator": reward("with", GRPO | CALCULATOR), "grpo, none": reward("without", GRPO)}
        before = {f"start, {name.split(', ')[1]}": run.result["score_before"] for name, run in runs.items()}
        return before | {name: run.result["score_after"] for name, run in runs.items()}
    runs = {"grpo": reward("grpo", GRPO), "ppo": reward("ppo", CRITIC)}
    told = {"data": str(out / "told.jsonl"), "sft": TOLD | {"eval_steps": 1_000_000}, "ppo": GRPO | size}
    sft = train_sft(settings | told, out / "told", resume="auto")
    scores = {name: run.result["score_after"] for name, run in runs.items()}
    return {"start": runs["grpo"].result["score_before"], **scores, "sft": sft.result["after"]["eval_score"]}


if __name__ == "__main__":
    sys.exit(run_script(main))
