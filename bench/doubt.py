"""What a reward model knows of its own errors, on simulated feedback whose true score is known.

The demo's model writes stories, a hidden taste scores them (`colourful`, standard deviation 1.5 in log-odds), and
people choose by Bradley and Terry. `python bench/doubt.py [--seeds 20] [--kinds models heads adapters]` trains
ensembles of three on 300 such pairs, with 150 to choose the epoch by, and prints on 300 others: accuracy, calibration
before and after the temperature, whether disagreement predicts errors, and whether it and the distance tell responses
unlike the training's from others.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import rankdata, spearmanr

from likelier.config import build_config
from likelier.demo import tastes
from likelier.demo.corpus import sample_openings
from likelier.files import write_jsonl
from likelier.intervals import Floats, t_interval
from likelier.records import Preference
from likelier.reward.check import check_calibration, check_scores
from likelier.reward.ensemble import Ensemble, load_ensemble, std_between_models
from likelier.reward.pairs import Pairs, columns, load_pairs
from likelier.reward.train import score_pairs, train_reward
from likelier.runs.run import Run
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import seeded_generator

MODEL = str(files("likelier.demo") / "model")
SPREAD, SIZE, FRESH = 1.5, 3, 100
PARTS = {"train": 300, "valid": 150, "test": 300}
LEARNING_RATES = {"models": 1e-3, "heads": 1e-3, "adapters": 1e-2}
Row = dict[str, float]


def write_stories(prompts: Sequence[str], seed: int) -> list[str]:
    """Sample a story to each prompt."""
    device = torch.device("cpu")
    draws = draw_uniforms(seeded_generator(seed, 0, "bench"), len(prompts), 48, device)
    return (
        ExactSampler(load_policy(MODEL, device), load_tokenizer(MODEL), 128).sample(prompts, Sampling(48), draws).texts
    )


class World:
    """Prompts, stories, judged pairs and the true score of one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        prompts = sample_openings(seed, sum(PARTS.values()) + FRESH)
        self.prompts, self.fresh = prompts[:-FRESH], prompts[-FRESH:]
        first, second = (write_stories(self.prompts, 1000 * seed + side) for side in (1, 2))
        raw = [tastes.colourful(*each) for each in zip(self.prompts * 2, first + second, strict=True)]
        self.origin, self.factor = float(np.mean(raw)), SPREAD / float(np.std(raw))
        generator, rows = np.random.default_rng(seed), iter(range(len(self.prompts)))
        for part, count in PARTS.items():
            pairs = [
                self.judge(first[row], second[row], row, generator) for row, _ in zip(rows, range(count), strict=False)
            ]
            write_jsonl(folder / "pairs" / f"{part}.jsonl", pairs)

    def score(self, prompts: Sequence[Any], responses: Sequence[str]) -> Floats:
        """Return the true scores, in log-odds, [N]."""
        raw = np.array([tastes.colourful(*each) for each in zip(prompts, responses, strict=True)])
        scores: Floats = (raw - self.origin) * self.factor
        return scores

    def judge(self, one: str, other: str, row: int, generator: np.random.Generator) -> Preference:
        """Draw one answer by Bradley and Terry."""
        prompt = self.prompts[row]
        a, b = self.score([prompt] * 2, [one, other])
        chosen, rejected = (one, other) if generator.random() < expit(a - b) else (other, one)
        return Preference(prompt, chosen, rejected, conversation=str(row))

    def train(self, kind: str) -> tuple[Path, Pairs, float]:
        """Train a reward run; returns its folder, its pairs, and processor time."""
        block = {"learning_rate": LEARNING_RATES[kind], "num_epochs": 3, "batch_size": 32, "device": "cpu"}
        block |= {"ensemble_size": SIZE, "ensemble": kind}
        settings = {"model": MODEL, "data": str(self.folder / "pairs"), "seed": self.seed, "reward_model": block}
        config, began = build_config(settings), time.process_time()
        with Run(self.folder / kind, "reward", config) as run:
            train_reward(config, run)
        return self.folder / kind, load_pairs(config), time.process_time() - began


def auroc(values: Floats, positive: Floats) -> float:
    """Probability that a positive has the larger value."""
    ranks, count = rankdata(values), positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def measure(world: World, kind: str) -> Row:
    """Train one ensemble and measure what it knows."""
    run, pairs, seconds = world.train(kind)
    ensemble = load_ensemble(str(run), "cpu")
    found = {"seconds": seconds} | measure_calibration("ensemble", ensemble, pairs)
    if kind == "models":
        found |= measure_calibration("single", load_ensemble(str(run / "model"), "cpu"), pairs)
    return found | measure_errors(world, ensemble, pairs) | measure_signs(world, ensemble, pairs)


def measure_calibration(name: str, ensemble: Ensemble, pairs: Pairs) -> Row:
    """Measure calibration on the test pairs before and after the temperature."""
    test, valid = (np.subtract(*score_pairs(ensemble.score, part)) for part in (pairs.test, pairs.valid))
    checked = check_scores(test, pairs.test) | check_calibration(test, pairs.test, valid, pairs.valid)
    keys = {"accuracy": "accuracy", "log loss before": "log_loss", "log loss after": "log_loss_at_temperature"}
    keys |= {"ECE before": "calibration_error", "ECE after": "calibration_error_at_temperature"}
    keys |= {"ECE by chance": "calibration_error_by_chance", "temperature": "temperature"}
    return {f"{name} {label}": checked[key] for label, key in keys.items()}


def measure_errors(world: World, ensemble: Ensemble, pairs: Pairs) -> Row:
    """Measure whether the members' disagreement tells where the ensemble is wrong."""
    prompts, *sides = columns(pairs.test)
    scores = np.stack([ensemble.score_each(prompts, side).double().numpy() for side in sides])  # [2, K, N]
    truth = np.stack([world.score(prompts, side) for side in sides])
    difference, gold = scores[0] - scores[1], truth[0] - truth[1]
    differs = gold != 0
    wrong = (np.sign(difference.mean(0)) != np.sign(gold))[differs]
    margin, spread = np.abs(difference.mean(0))[differs], difference.std(0)[differs]
    residual = scores - scores.mean(1, keepdims=True)
    error, deviation = np.abs(scores.mean(1) - truth), scores.std(1)
    return {
        "accuracy by truth": 1 - float(wrong.mean()),
        "deviation of a score": float(deviation.mean()),
        # What two responses to a prompt have in common: the constant that the likelihood leaves open.
        "share between prompts": float((residual[0] * residual[1]).mean() / (residual**2).mean()),
        "wrong by deviation": auroc(spread, wrong),
        "wrong by margin": auroc(-margin, wrong),
        "wrong by margin/deviation": auroc(-margin / spread, wrong),
        "rank correlation of deviation and error": float(spearmanr(deviation.ravel(), error.ravel()).statistic),
    }


def measure_signs(world: World, ensemble: Ensemble, pairs: Pairs) -> Row:
    """Measure how often fresh responses, and those of one sentence three times, are beyond the thresholds."""
    assert ensemble.distribution is not None
    prompts, chosen, rejected = columns(pairs.test)
    known = ensemble.read([*prompts, *prompts], [*chosen, *rejected])
    stories = write_stories(world.fresh, 7000 + world.seed)
    found = {}
    for name, responses in {
        "fresh": write_stories(world.fresh, 5000 + world.seed),
        "repeated": [" ".join([text.split(".")[0] + "."] * 3) for text in stories],
    }.items():
        scores, features = ensemble.read(world.fresh, responses)
        signs = ensemble.distribution.find_signs(features, std_between_models(scores))
        labels = np.repeat([False, True], [len(known.features), len(responses)])
        values = {
            "distance": (ensemble.distribution.measure(known.features), signs["distance"]),
            "disagreement": (std_between_models(known.scores), std_between_models(scores)),
        }
        for sign, both in values.items():
            found[f"{name}: high {sign}"] = float(signs[f"high_{sign}"].mean())
            found[f"{name}: AUROC {sign}"] = auroc(torch.cat(both).double().numpy(), labels)
        truth = world.score(world.fresh, responses)
        found[f"{name}: error"] = float(np.abs(scores.mean(0).double().numpy() - truth).mean())
    return found


def main() -> None:
    """Run the simulation and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=["models", "heads", "adapters"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[Row]] = {kind: [] for kind in options.kinds}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, Path(folder))
            for kind in options.kinds:
                rows[kind].append(measure(world, kind))
                print(json.dumps({"seed": seed, "kind": kind, **rows[kind][-1]}), flush=True)
    for kind, found in rows.items():
        for name in found[0]:
            values = [row[name] for row in found]
            low, high = t_interval(values) or (float("nan"), float("nan"))
            print(f"{kind:9} {name:42} {np.mean(values):8.3f}  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
