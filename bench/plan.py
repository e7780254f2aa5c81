"""Memory and seconds of `likelier plan` beside those of the run it plans, on the sizes of `bench/ppo.py` and a model.

python bench/plan.py [S] [M] [R-LoRA] [R-whole] [--model FOLDER] [--set KEY=VALUE ...] [--json FILE]

R is the folder of `--model`, such as SmolLM2-135M, with LoRA 16 or whole. Linux only: the peak of a process is in its
resource usage. Seconds are only worth reading if nothing else runs on the machine.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from likelier.text.models import load_tokenizer
from likelier.text.reward_model import new_reward_model
from ppo import PROMPT_TOKENS, RESPONSE_TOKENS, SIZES, make_models

STEPS = 3
"""Iterations, of which the first warms up."""
CASES: dict[str, dict[str, Any]] = {
    "S": {"size": "S"},
    "M": {"size": "M"},
    "R-LoRA": {"batch_size": 16, "num_mini_batches": 4, "num_ppo_epochs": 1, "lora_rank": 16},
    "R-whole": {"batch_size": 16, "num_mini_batches": 4, "num_ppo_epochs": 1},
}


def write_run(case: str, folder: Path, model: Path | None) -> Path:
    """Write models, prompts and config of a case; returns the config."""
    ppo = {"response_length": RESPONSE_TOKENS, "stop_token": None, "num_eval_prompts": 8} | CASES[case]
    size = SIZES.get(ppo.pop("size", ""))
    if size:
        make_models(size, folder)
        ppo |= {"batch_size": size["prompts"], "num_mini_batches": size["mini_batches"]}
        names = [f"w{number}" for number in range(1, size["vocabulary"])]
        model = folder / "policy"
    else:
        if model is None:
            raise SystemExit(f"{case}: give --model FOLDER")
        reward = new_reward_model(model)
        reward.model.save_pretrained(folder / "reward")
        reward.tokenizer.save_pretrained(folder / "reward")
        names = [word for word in load_tokenizer(model).get_vocab() if word.isalpha() and len(word) > 3]
    draw = random.Random(0)
    lines = [" ".join(draw.choices(names, k=PROMPT_TOKENS)) for _ in range(4 * ppo["batch_size"])]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": line}) + "\n" for line in lines))
    config = {
        "model": str(model),
        "prompts": str(folder / "prompts.jsonl"),
        "reward": [{"model": str(folder / "reward")}],
        "ppo": ppo | {"total_episodes": STEPS * ppo["batch_size"]},
    }
    path = folder / "c.yaml"
    path.write_text(json.dumps(config))
    return path


def call(*words: str) -> tuple[dict[str, Any], int]:
    """Run a command in a process of its own; returns its JSON, and the most bytes that it held."""
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen([sys.executable, "-m", "likelier", *words, "--json"], stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        output.seek(0)
        if status:
            raise SystemExit(f"likelier {' '.join(words)}: status {status}")
        return json.load(output), usage.ru_maxrss * 1024


def measure(case: str, model: Path | None, words: list[str]) -> dict[str, Any]:
    """Plan a case and run it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own, so that the models it makes are gone before anything is measured.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            config = pool.apply(write_run, (case, folder, model))
        plan = call("plan", str(config), *words)[0]["stages"]["ppo"]
        _, peak = call("ppo", str(config), *words, "--out", str(folder / "run"))
        lines = (folder / "run" / "timing.jsonl").read_text().splitlines()
    steps = [{key: value for key, value in json.loads(line).items() if key != "step"} for line in lines][1:]
    return {
        "case": case,
        "settings": words,
        "predicted_bytes": plan["memory"]["peak_bytes"],
        "measured_bytes": peak,
        "memory_ratio": plan["memory"]["peak_bytes"] / peak,
        "parts": plan["memory"]["parts"],
        "phase": plan["memory"]["phase"],
        "predicted_seconds": plan["iteration_seconds"],
        "measured_seconds": statistics.median(sum(step.values()) for step in steps),
        "predicted_phases": plan["phase_seconds"],
        "measured_phases": {key: statistics.median(step[key] for step in steps) for key in steps[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["S", "M"])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--set", nargs="*", default=[], dest="words")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results = []
    for case in given.cases:
        result = measure(case, given.model, given.words)
        results.append(result)
        print(f"{case:<8} {' '.join(given.words)}", flush=True)
        for name, unit in (("bytes", 1e9), ("seconds", 1.0)):
            planned, measured = (result[f"{kind}_{name}"] / unit for kind in ("predicted", "measured"))
            print(f"  {name:<8} planned {planned:8.2f}  measured {measured:8.2f}  {planned / measured - 1:+.0%}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
