"""Over-optimisation where the true score is known: PPO on the demo's model, rewards from few comparisons.

Readers with one of the demo's tastes compare pairs of responses by Bradley and Terry's model; a reward model learns
from them, PPO follows it, and each evaluation's policy writes 384 responses to prompts of its own, whose mean taste is
the true score. In the run itself the taste judges 64 held-out prompts, as a held-out judge would, and a noisy one the
fresh ones.

`python bench/overoptimisation.py watch`: 40 runs that turn and 40 that do not. How often does `gold_drift` speak, how
late, and what are the last policy, the one that `ppo.keep_best` keeps, the one where `ppo.stop_on` ends, and the best
one worth? `scaling`: when do runs turn, by the size of the reward model, by comparisons (Gao et al. 2022) and by ways
to combine an ensemble (Coste et al. 2023)? Both go on where they were stopped (`--out`); `--table` prints what is
there, and of `scaling` `--plot FILE.svg` draws it.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit
from transformers import LlamaConfig, LlamaForCausalLM

from likelier.config import build_config
from likelier.demo import tastes
from likelier.demo.corpus import sample_openings
from likelier.doctor.examine import examine
from likelier.doctor.findings.history import History
from likelier.evaluation.overoptimisation import measure_overoptimisation
from likelier.files import read_log, write_jsonl
from likelier.intervals import t_interval
from likelier.rlhf.train import train_ppo
from likelier.runs.curve import read_curve
from likelier.runs.run import Run
from likelier.runs.shared import train_stage
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import seeded_generator
from likelier.training.state import load_file

BASE = Path(tastes.__file__).with_name("model")
JUDGE, OTHER = "reader", "another reader"
SPREAD = 12.0
"""Factor on differences of taste (0 to 1): two random responses are told apart in about four answers of five."""
TRUE_PROMPTS, LENGTH = 384, 40
SIZES = {"small": (16, 1), "middle": (48, 2), "pretrained": None}
TURNED = 0.05
"""Fall of the true score from its best, at least; the standard error of a difference is about 0.014."""


class Setting(NamedTuple):
    """One kind of run."""

    name: str
    comparisons: int
    size: str = "pretrained"
    kl_coef: float = 0.0
    ensemble_size: int = 1
    source: Mapping[str, Any] = {}
    """Further settings of the reward source, such as how an ensemble is combined."""


WATCHED = (
    Setting("turns", 150),
    Setting("stays", 800, kl_coef=0.3),
)
SCALED = (
    *(Setting(f"{count} comparisons", count) for count in (100, 300, 1000, 3000)),
    *(Setting(f"{size} reward model", 1000, size) for size in ("small", "middle")),
    Setting("ensemble of 4, mean", 300, ensemble_size=4),
    Setting("ensemble of 4, minimum", 300, ensemble_size=4, source={"combine": "min"}),
    Setting(
        "ensemble of 4, uncertainty", 300, ensemble_size=4, source={"combine": "uncertainty_weighted", "caution": 0.5}
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("watch", "scaling"))
    parser.add_argument("--out", type=Path, default=Path("runs/overoptimisation"))
    parser.add_argument("--count", type=int, help="runs of each kind (40; 10)")
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the true score of `scaling` by step")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    log = given.out / f"{given.what}.jsonl"
    if not given.table:
        watch(given.out, log, given.count or 40) if given.what == "watch" else scale(given.out, log, given.count or 10)
    rows = read_log(log)
    print_watch(rows) if given.what == "watch" else print_scaling(rows)
    if given.plot:
        given.plot.write_text(draw_scaling(rows), encoding="utf-8")


def watch(out: Path, log: Path, count: int) -> None:
    """Run seeds of both kinds until `count` runs have turned and `count` have not, by the true score."""
    for seed in range(4 * count):
        rows = read_log(log) if log.exists() else []
        turned = sum(map(has_turned, rows))
        wanted = [WATCHED[0]] * (turned < count) + [WATCHED[1]] * (len(rows) - turned < count)
        run_all(out, log, [(setting, seed) for setting in wanted], rows)


def scale(out: Path, log: Path, count: int) -> None:
    """Run every setting with `count` seeds."""
    pairs = [(setting, seed) for seed in range(count) for setting in SCALED]
    run_all(out, log, pairs, read_log(log) if log.exists() else [])


def run_all(out: Path, log: Path, pairs: Sequence[tuple[Setting, int]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Run what is not there yet, and append a line for each."""
    there = {(row["setting"], row["seed"]) for row in rows}
    for setting, seed in pairs:
        if (setting.name, seed) in there:
            continue
        row = {"setting": setting.name, "seed": seed, **run(setting, seed, out / "work")}
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({key: row[key] for key in ("setting", "seed", "true", "kept_step", "spoke")}), flush=True)


def run(setting: Setting, seed: int, work: Path) -> dict[str, Any]:
    """Train a reward model and a policy; the run's curves, and the true score of each evaluated policy."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    taste = list(tastes.TASTES)[seed % len(tastes.TASTES)]
    reward = train_reward(setting, seed, taste, work)
    write_jsonl(work / "prompts.jsonl", [{"prompt": text} for text in sample_openings(1000 + seed, 900)])
    (work / "judges.py").write_text(JUDGES.format(taste=taste, seed=seed))
    config = build_config(make_settings(setting, seed, reward, work))
    with Run(work / "ppo", "ppo", config) as training:
        result = train_ppo(config, training)
    lines = read_log(work / "ppo" / "metrics.jsonl")
    curve = read_curve(lines, result["before"])
    true = measure_truth(work / "ppo", [point.step for point in curve], seed, taste)
    return {
        "taste": taste,
        "steps": [point.step for point in curve],
        "kl": [point.kl for point in curve],
        "score": [point.score for point in curve],
        "judged": [point.judges[JUDGE] for point in curve],
        "true": [round(each, 4) for each in true],
        "kept_step": result["kept_step"],
        "kept": result["kept"]["judges"],
        "spoke": find_first_words(lines, config, result["before"]),
        "fit": measure_overoptimisation(curve)[JUDGE]["fit"],
    }


JUDGES = """
import zlib
from likelier.demo.tastes import {taste}

def reader(prompts, responses):
    return [{taste}(*pair) for pair in zip(prompts, responses)]

def noisy(prompts, responses):
    noise = [zlib.crc32(f"{seed} {{response}}".encode()) / 2**32 - 0.5 for response in responses]
    return [score + 0.5 * each for score, each in zip(reader(prompts, responses), noise)]
"""


def make_settings(setting: Setting, seed: int, reward: Path, work: Path) -> dict[str, Any]:
    """Settings of PPO."""
    judges = [{"function": f"{work}/judges.py:reader", "name": JUDGE}, {"function": f"{work}/judges.py:noisy"}]
    judges[1]["name"] = OTHER
    ppo = {
        "total_episodes": 64 * 20,
        "batch_size": 64,
        "num_mini_batches": 4,
        "num_ppo_epochs": 3,
        "response_length": LENGTH,
        "learning_rate": 6e-4,
        "kl_coef": setting.kl_coef,
        "critic": "shared",
        "critic_learning_rate": 1e-2,
        "cliprange_value": None,
        "missing_eos_penalty": 1.0,
        "num_eval_prompts": 64,
        "eval_steps": 2,
        "save_steps": 2,
        "save_total_limit": 100,
        "keep_best": JUDGE,
        "anyway": True,
        "device": "cpu",
    }
    return {
        "model": str(BASE),
        "prompts": str(work / "prompts.jsonl"),
        "seed": seed,
        "reward": [{"model": str(reward), **setting.source}],
        "eval": {"scorer": judges},
        "ppo": ppo,
    }


def train_reward(setting: Setting, seed: int, taste: str, work: Path) -> Path:
    """Train a reward model on comparisons of pairs that the start wrote; returns its run folder."""
    pairs = draw_pairs(setting.comparisons + 200, seed, taste)
    (work / "pairs").mkdir()
    write_jsonl(work / "pairs" / "train.jsonl", pairs[200:])
    write_jsonl(work / "pairs" / "valid.jsonl", pairs[:100])
    write_jsonl(work / "pairs" / "test.jsonl", pairs[100:200])
    settings = {"learning_rate": 1e-3, "num_epochs": 3, "batch_size": 32, "device": "cpu", "save_steps": 10_000}
    settings |= {"ensemble_size": setting.ensemble_size, "from_scratch": SIZES[setting.size] is not None}
    settings["num_epochs"] = max(3, round(3 * 1000 / setting.comparisons)) if setting.comparisons < 1000 else 3
    config = {"model": str(make_base(setting.size, work)), "data": str(work / "pairs"), "seed": seed}
    train_stage("reward", build_config({**config, "reward_model": settings}), work / "reward", "never")
    return work / "reward"


def make_base(size: str, work: Path) -> Path:
    """The demo's model, or an untrained one of another width and depth with its tokens."""
    shape = SIZES[size]
    if shape is None:
        return BASE
    width, layers = shape
    plain = load_causal_lm(BASE).config.to_dict()
    changed = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers}
    changed |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": width // 4}
    torch.manual_seed(0)
    save_model(work / "base", LlamaForCausalLM(LlamaConfig(**plain | changed)), load_tokenizer(BASE), "")
    return work / "base"


def draw_pairs(count: int, seed: int, taste: str) -> list[dict[str, Any]]:
    """Sample two responses to each prompt, and let a reader choose."""
    prompts = sample_openings(seed, count)
    model, tokenizer = load_causal_lm(BASE), load_tokenizer(BASE)
    twice = [text for text in prompts for _ in range(2)]
    texts = sample_texts(model.float(), tokenizer, twice, seed, "pairs")
    scores = np.array([tastes.TASTES[taste](*pair) for pair in zip(twice, texts, strict=True)]).reshape(-1, 2)
    takes_first = np.random.default_rng(seed).random(count) < expit(SPREAD * (scores[:, 0] - scores[:, 1]))
    rows = []
    for at, (prompt, first) in enumerate(zip(prompts, takes_first, strict=True)):
        chosen, rejected = texts[2 * at : 2 * at + 2][:: 1 if first else -1]
        if chosen != rejected:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def sample_texts(model: Any, tokenizer: Any, prompts: Sequence[str], seed: int, purpose: str) -> Sequence[str]:
    """Sample a response to each prompt."""
    draws = draw_uniforms(seeded_generator(seed, 0, purpose), len(prompts), LENGTH, model.device)
    return ExactSampler(model, tokenizer, rows=256).sample(list(prompts), Sampling(LENGTH), draws).texts


def measure_truth(folder: Path, steps: Sequence[int], seed: int, taste: str) -> list[float]:
    """Mean taste of the policy of each step on prompts of their own; the same random numbers for all."""
    model, tokenizer = load_causal_lm(BASE).float(), load_tokenizer(BASE)
    prompts = sample_openings(5000 + seed, TRUE_PROMPTS)
    means = []
    for step in steps:
        if step:
            stored = load_file(folder / f"checkpoint-{step}" / "policy.safetensors")
            own = {name.removeprefix("model."): weight for name, weight in stored.items() if name.startswith("model.")}
            missing, _ = model.load_state_dict(own, strict=False)
            assert set(missing) < {"lm_head.weight", "model.embed_tokens.weight"}, missing  # the two are one
        texts = sample_texts(model, tokenizer, prompts, seed, "truth")
        means.append(float(np.mean([tastes.TASTES[taste](*pair) for pair in zip(prompts, texts, strict=True)])))
    return means


def find_first_words(lines: Sequence[dict[str, Any]], config: Any, before: Mapping[str, Any]) -> dict[str, int]:
    """The first step at which the doctor says `gold_drift`, by severity."""
    first: dict[str, int] = {}
    for end in range(2, len(lines) + 1, 2):
        for finding in examine(History(lines[:end], config, before)):
            if finding.name == "gold_drift":
                first.setdefault(finding.severity, lines[end - 1]["step"])
    return first


def has_turned(row: Mapping[str, Any]) -> bool:
    """True where the true score ended clearly below its best."""
    return bool(max(row["true"]) - row["true"][-1] > TURNED)


def print_watch(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how often and how late the watch speaks, and what each policy is worth."""
    for turned in (True, False):
        chosen = [row for row in rows if has_turned(row) is turned]
        if not chosen:
            continue
        print(f"{len(chosen)} runs that {'turned' if turned else 'did not'}")
        for severity in ("warning", "error"):
            spoke = [row for row in chosen if severity in row["spoke"]]
            late = [row["spoke"][severity] - row["steps"][int(np.argmax(row["true"]))] for row in spoke]
            delay = f", {np.median(late):.0f} steps after the best (quartiles {quartiles(late)})" if late else ""
            print(f"  {severity}: in {len(spoke)}{delay}")
        for name, values in collect_values(chosen).items():
            print(f"  true score of {name}: {np.mean(values):.3f} {span(t_interval(values))}")
        gaps = collect_values(chosen)
        gained = np.array(gaps["the kept policy"]) - np.array(gaps["the last policy"])
        print(f"  kept minus last: {gained.mean():+.3f} {span(t_interval(gained))}")
        by_other = [row["kept"][OTHER]["difference"] for row in chosen]
        print(f"  the same, by the other judge on fresh prompts: {np.mean(by_other):+.3f} {span(t_interval(by_other))}")
        steps = [(row, row["kept_step"]) for row in chosen]
        flattery = [row["judged"][row["steps"].index(step)] - true_at(row, step) for row, step in steps]
        print(f"  the chosen score minus the true one: {np.mean(flattery):+.3f} {span(t_interval(flattery))}")


def collect_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """True scores of the policies that one could end with."""
    stops = [min(row["spoke"].values(), default=row["steps"][-1]) for row in rows]
    return {
        "the start": [row["true"][0] for row in rows],
        "the last policy": [row["true"][-1] for row in rows],
        "the kept policy": [true_at(row, row["kept_step"]) for row in rows],
        "where stop_on ends": [true_at(row, stop) for row, stop in zip(rows, stops, strict=True)],
        "the best policy": [max(row["true"]) for row in rows],
    }


def true_at(row: Mapping[str, Any], step: int) -> float:
    """The true score at a step."""
    return float(row["true"][row["steps"].index(step)])


def print_scaling(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print where the true score was best and what was lost after it, by setting; KL in nats."""
    print("setting | runs | gain at the best | KL at the best | lost by the end | turned | KL at the end")
    for setting in dict.fromkeys(row["setting"] for row in rows):
        chosen = [row for row in rows if row["setting"] == setting]
        peaks = [int(np.argmax(row["true"])) for row in chosen]
        figures = (
            [max(row["true"]) - row["true"][0] for row in chosen],
            [row["kl"][peak] for row, peak in zip(chosen, peaks, strict=True)],
            [max(row["true"]) - row["true"][-1] for row in chosen],
        )
        said = " | ".join(f"{np.mean(each):.3g} {span(t_interval(each))}" for each in figures)
        ends = np.mean([row["kl"][-1] for row in chosen])
        print(f"{setting} | {len(chosen)} | {said} | {sum(map(has_turned, chosen))} | {ends:.3g}")


PANELS = (
    ("comparisons", ("100 comparisons", "300 comparisons", "1000 comparisons", "3000 comparisons")),
    ("reward models, 1,000 comparisons", ("small reward model", "middle reward model", "1000 comparisons")),
    (
        "ensembles, 300 comparisons",
        ("300 comparisons", "ensemble of 4, mean", "ensemble of 4, minimum", "ensemble of 4, uncertainty"),
    ),
)
"""Title and settings of each part of the drawing."""
COLOURS = ("#0a649f", "#ad4308", "#00855f", "#7b4fa3")


def draw_scaling(rows: Sequence[Mapping[str, Any]], width: int = 300, height: int = 250) -> str:
    """Return an SVG: the true score by step, mean over the seeds, a part for each of `PANELS`."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(PANELS)} {height}">',
        '<g font-family="sans-serif" font-size="11" fill="#5b5f67">',
        f'<rect width="{width * len(PANELS)}" height="{height}" fill="#fff"/>',
    ]
    for number, (title, settings) in enumerate(PANELS):
        curves = [(name, [row for row in rows if row["setting"] == name]) for name in settings]
        head = f'<g transform="translate({number * width} 0)"><text x="34" y="14">true score: {title}</text>'
        parts += [head, *draw_panel(curves, width, height), "</g>"]
    return "\n".join([*parts, "</g></svg>\n"])


def draw_panel(curves: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], width: int, height: int) -> list[str]:
    """Return the elements of one part: axes, a line for each setting, and its name."""
    last, low, high = 20, 0.2, 0.8

    def place(step: float, score: float) -> tuple[float, float]:
        return 34 + step * (width - 50) / last, height - 30 - (score - low) / (high - low) * (height - 110)

    parts = []
    for score in (0.2, 0.4, 0.6, 0.8):
        (left, y), (right, _) = place(0, score), place(last, score)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#e2ddd2"/><text x="8" y="{y + 4:.1f}">{score}</text>')
    parts += [
        f'<text x="{place(step, 0)[0]:.1f}" y="{height - 12}" text-anchor="middle">{step}</text>'
        for step in (0, 10, 20)
    ]
    for number, ((name, rows), colour) in enumerate(zip(curves, COLOURS, strict=False)):
        scores = np.mean([row["true"] for row in rows], axis=0)
        points = [place(step, score) for step, score in zip(rows[0]["steps"], scores, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="34" y="{30 + 13 * number}" fill="{colour}">{name}</text>')
    return parts


def span(interval: Sequence[float] | None) -> str:
    """An interval in brackets."""
    return "" if interval is None else f"({interval[0]:.3f} to {interval[1]:.3f})"


def quartiles(values: Sequence[float]) -> str:
    """The middle half."""
    low, high = np.quantile(values, [0.25, 0.75])
    return f"{low:.0f} to {high:.0f}"


if __name__ == "__main__":
    main()
