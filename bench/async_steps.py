"""Seconds of a PPO step with `ppo.async_steps`, where sampler and trainer divide the threads, with random weights.

python bench/async_steps.py [--size XS] [--steps 8] [--threads 1 2] [--ahead 0 1 2] [--json FILE]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ppo import PROMPT_TOKENS, RESPONSE_TOKENS, SIZES, make_models

XS = {"layers": 3, "width": 128, "heads": 4, "vocabulary": 1024, "prompts": 32, "mini_batches": 4}
"""About the size of the demo's model."""


def make_world(folder: Path, name: str, steps: int) -> None:
    """Models, prompts and a config of `steps` steps."""
    size, draw = (SIZES | {"XS": XS})[name], random.Random(0)
    make_models(size, folder)
    texts = (
        " ".join(f"w{draw.randrange(1, size['vocabulary'])}" for _ in range(PROMPT_TOKENS))
        for _ in range(4 * size["prompts"])
    )
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    ppo = {"batch_size": size["prompts"], "num_mini_batches": size["mini_batches"], "stop_token": None}
    ppo |= {"response_length": RESPONSE_TOKENS, "total_episodes": steps * size["prompts"], "num_eval_prompts": 1}
    config = {"model": str(folder / "policy"), "prompts": str(folder / "prompts.jsonl"), "ppo": ppo}
    config["reward"] = [{"model": str(folder / "reward")}]
    (folder / "config.yaml").write_text(json.dumps(config))


def measure(folder: Path, ahead: int, threads: int) -> list[float]:
    """Seconds of each step but the first ones, in which there is nothing to learn from while others are drawn."""
    out = folder / f"run-{ahead}-{threads}"
    command = [sys.executable, "-m", "likelier", "ppo", str(folder / "config.yaml"), f"ppo.async_steps={ahead}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([*command, "--out", str(out), "--json"], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "timing.jsonl").read_text().splitlines()]
    return [sum(value for name, value in line.items() if name != "step") for line in lines[1 + ahead :]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="XS", choices=["XS", *SIZES])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--ahead", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, given.size, given.steps)
        for threads in given.threads:
            for ahead in given.ahead:
                seconds = measure(folder, ahead, threads)
                row = {"size": given.size, "async_steps": ahead, "threads": threads, "steps": len(seconds)}
                row |= {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
