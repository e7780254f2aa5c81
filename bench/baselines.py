"""The demo's circle trained in other ways on the same preferences: true score over KL of PPO, DPO, SFT, best of n.

`python bench/baselines.py [--seeds 0 1 2] [--kl 3] [--out runs/baselines]`. For each seed the demo's first half (its
taste, panel and check) makes one set of preferences and one reward model; PPO with the demo's settings, DPO and SFT
with several, each learn from them. All are measured on two responses to each of the same unseen prompts, with the same
random numbers. What is done is not done again. The table, at the end, has means over the seeds.

`--kl`: PPO, GRPO, RLOO and online DPO instead, with as many responses and a price of a nat that leads to this KL, at
two speeds of its controller, and DPO and SFT with two settings each. A second table has the true score of each way at
this KL, by least squares over all final policies but SFT's, which no KL makes better: a mean for each way, one for each
seed, and a slope over the log of KL.
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from likelier.circle import (
    Result,
    Round,
    collect_feedback,
    compare_models,
    make_policy_config,
    run_once,
    train_and_evaluate,
)
from likelier.config import DPOConfig, OtherModel, PPOConfig, SFTConfig
from likelier.demo.panel import draw_panel
from likelier.demo.run import SETTINGS, draw_taste, start_round
from likelier.evaluation.result import EvaluationResult, OtherResult
from likelier.finetune.dpo import train_dpo
from likelier.finetune.sft import train_sft
from likelier.ppo.algorithms import CRITIC_SETTINGS
from likelier.rlhf.train import train_ppo
from likelier.runs.logs import read_metrics
from likelier.runs.run import Run

Block = DPOConfig | SFTConfig | PPOConfig
DPO = [
    DPOConfig(learning_rate=rate, beta=beta, num_epochs=epochs)
    for rate, beta, epochs in [*product((1e-4, 3e-4, 1e-3), (0.05, 0.3), (3,)), (3e-4, 0.05, 8), (1e-3, 1.0, 3)]
]
SFT = [SFTConfig(learning_rate=rate, num_epochs=epochs) for rate, epochs in product((3e-4, 1e-3), (2, 8))]
LIKE_PPO = {key: value for key, value in SETTINGS["ppo"].items() if key not in CRITIC_SETTINGS} | {"anyway": True}
SEARCHED: dict[str, dict[str, Any]] = {
    "PPO": {key: value for key, value in SETTINGS["ppo"].items() if key in CRITIC_SETTINGS},
    "GRPO in groups of 4": {"algorithm": "grpo", "responses_per_prompt": 4},
    "RLOO in groups of 4": {"algorithm": "rloo", "responses_per_prompt": 4},
    "online DPO": {"algorithm": "rloo", "responses_per_prompt": 2, "whiten_advantages": False,
                   "loss": f"{Path(__file__).with_name('online_dpo.py')}:loss", "kl_coef": 0.3,
                   "batch_size": 32, "num_mini_batches": 1, "learning_rate": 3e-4},
}  # fmt: skip
"""What differs from the demo's PPO; online DPO takes as many optimizer steps in batches of a quarter."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kl", type=float, help="nats that GRPO, RLOO and online DPO are led towards")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    blocks = name_blocks(given.kl)
    found = {seed: points(given.out / str(seed), seed, blocks) for seed in given.seeds}
    start = [each["the start"] for each in found.values()]
    print("| made by | nats, by seed | true score | mean | preferred to the start | distinct-2 against the start's |")
    print("|---|---|---|---|---|---|")
    for name in found[given.seeds[0]]:
        print(line(name, [each[name] for each in found.values()], start))
    if given.kl:
        print_equal(given.out, found, [name for name in blocks if not name.startswith("SFT")], given.kl)


def print_equal(out: Path, found: dict[int, dict[str, Result]], names: list[str], kl: float) -> None:
    """The true score of each way at one KL with its standard error, and what one run of it took on average."""
    ways = list(dict.fromkeys(name.partition(", ")[0] for name in names))
    finals = [(ways.index(n.partition(", ")[0]), s, found[seed][n]) for n in names for s, seed in enumerate(found)]
    rows = np.zeros((len(finals), len(ways) + len(found)))
    for row, (way, seed, result) in zip(rows, finals, strict=True):
        row[way] = 1
        row[len(ways) : -1] = np.eye(len(found))[seed][1:] - 1 / len(found)
        row[-1] = np.log(result["kl"] / kl)
    scores = np.array([result["true_score"] for *_, result in finals])
    fitted = np.linalg.lstsq(rows, scores, rcond=None)[0]
    variance = ((scores - rows @ fitted) ** 2).sum() / (len(scores) - rows.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(rows.T @ rows)))
    print(f"| made by | true score at {kl:g} nats | responses | steps | seconds |\n|---|---|---|---|---|")
    for number, way in enumerate(ways):
        runs = [out / str(s) / f"other-{n}" for s in found for n, name in enumerate(names) if name.startswith(way)]
        drawn = mean(max(line.get("episodes", 0) for line in read_metrics(run)) for run in runs)
        done = [json.loads((run / "result.json").read_text()) for run in runs]
        steps, seconds = (mean(each[key] for each in done) for key in ("optimizer_steps", "seconds"))
        print(f"| {way} | {fitted[number]:.3f} ± {errors[number]:.3f} | {drawn:,.0f} | {steps:.0f} | {seconds:.0f} |")
    print(f"slope over log KL: {fitted[-1]:.3f} ± {errors[-1]:.3f}")


def line(name: str, seen: list[Result], start: list[Result]) -> str:
    nats, scores, wins = ([each[key] for each in seen] for key in ("kl", "true_score", "win_rate"))
    by_seed = ", ".join(f"{score:.3f}" for score in scores)
    liked = "–" if None in wins else f"{100 * mean(wins):.1f} %"
    kept = [each["variety"] and each["variety"] / before["variety"] for each, before in zip(seen, start, strict=True)]
    variety = "–" if None in kept else f"{100 * mean(kept):.0f} %"
    return (
        f"| {name} | {', '.join(f'{kl:.1f}' for kl in nats)} | {by_seed} | {mean(scores):.3f} | {liked} | {variety} |"
    )


def name_blocks(kl: float | None) -> dict[str, Block]:
    """The ways to train, by name."""
    if kl is None:
        return {name_of(block): block for block in (*DPO, *SFT)}
    chosen = [DPOConfig(learning_rate=rate, beta=beta, num_epochs=3) for rate, beta in ((3e-4, 0.3), (1e-3, 0.1))]
    copied = [SFTConfig(learning_rate=1e-3, num_epochs=epochs) for epochs in (2, 8)]
    led = {"kl_target": kl}
    searched: dict[str, Block] = {
        f"{name}, horizon {horizon:g}": PPOConfig(**LIKE_PPO | led | {"kl_horizon": horizon} | settings)
        for name, settings in SEARCHED.items()
        for horizon in (256.0, 64.0)
    }
    return searched | {name_of(block): block for blocks in (chosen, copied) for block in blocks}


def points(folder: Path, seed: int, blocks: dict[str, Block]) -> dict[str, Result]:
    """Every way of training with this seed: KL, true score and win rate."""
    taste = draw_taste(seed)
    at = start_round(folder, seed, taste)
    done = train_and_evaluate(at, collect_feedback(at, draw_panel(seed, taste).judge))
    for number, (name, block) in enumerate(blocks.items()):
        print(f"seed {seed} {taste}: {name}", flush=True)
        run_once(at, f"other-{number}", [done, block.model_dump()], lambda at, n=number, b=block: train(at, n, b))
    others = [OtherModel(model=str(folder / f"other-{n}" / "model"), name=name) for n, name in enumerate(blocks)]
    measured = run_once(at, "measured", [done, [other.name for other in others]], lambda at: measure(at, others))
    print(json.dumps({"seed": seed, "taste": taste, "points": measured["points"]}), flush=True)
    found: dict[str, Result] = measured["points"]
    return found


def train(at: Round, number: int, block: Block) -> Result:
    """One baseline on the round's preferences."""
    name = {DPOConfig: "dpo", SFTConfig: "sft", PPOConfig: "ppo"}[type(block)]
    settings: dict[str, Any] = {name: block, "data": str(at.folder / "preferences")}
    config = make_policy_config(at).model_copy(update=settings)
    with Run(at.folder / f"other-{number}", name, config, "auto") as run:
        return {"dpo": train_dpo, "sft": train_sft, "ppo": train_ppo}[name](config, run)


def measure(at: Round, others: list[OtherModel]) -> Result:
    changed = at.config.eval.model_copy(update={"others": others})
    evaluation = EvaluationResult.from_json(
        compare_models(replace(at, config=at.config.model_copy(update={"eval": changed})))
    )
    start = {"kl": 0.0, "true_score": evaluation.score_a, "win_rate": None, "variety": evaluation.a.distinct_2}
    found = {"the start": start, "PPO, as in the demo": point(evaluation)}
    found |= {other.name: point(other) for other in evaluation.others}
    for control in evaluation.best_of:
        best = control.first
        row = {"kl": control.kl_bound, "true_score": best.score, "win_rate": best.win_rate, "variety": None}
        found[f"best of {control.n} (bound of its KL)"] = row
    return {"points": found}


def point(result: EvaluationResult | OtherResult) -> Result:
    row = {"kl": result.kl, "true_score": result.score_b, "win_rate": result.first.win_rate}
    return row | {"variety": result.b.distinct_2}


def name_of(block: DPOConfig | SFTConfig) -> str:
    passes = f"step size {block.learning_rate:g}, {block.num_epochs} passes"
    return f"DPO, beta {block.beta:g}, {passes}" if isinstance(block, DPOConfig) else f"SFT on the chosen, {passes}"


if __name__ == "__main__":
    main()
