"""Simulations of feedback with the truth known: what the intervals, the consensus and the check claim, and what is so.

`python bench/feedback.py intervals [--draws 2000] [--seed 0]` prints how often 95% intervals hold the truth.
`python bench/feedback.py consensus [--data ../shared/data] [--crowd-kit PYTHON]` prints the accuracy of consensus
labels on real crowds and simulated ones. MACE and GLAD are crowd-kit's, in an environment of its own whose interpreter
is PYTHON.
`python bench/feedback.py detection [--crowds 1000] [--seed 0] [--jobs 2]` prints how many honest crowds have anybody
flagged, and how often one person with a vice is flagged (see `detection.py`).
`python bench/feedback.py watching [--draws 2000] [--seed 0]` prints how often intervals that are looked at after each
of 1,000 prompts exclude the truth at any time, and how soon they exclude one half.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from detection import print_detection
from numpy.typing import NDArray
from scipy.stats import binomtest

from likelier.feedback.agreement import AgreementTable
from likelier.feedback.consensus import dawid_skene
from likelier.feedback.planning import plan_watching
from likelier.intervals import count_values, log_capital, mean_interval, rate_interval

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]
CLUSTERS, RATES, CORRELATIONS = (5, 20, 50), (0.5, 0.8, 0.95), (0.0, 0.2, 0.5)
SIZES = ("1", "5", "1 to 9", "lognormal")


def draw_sizes(kind: str, count: int, generator: np.random.Generator) -> Sizes:
    """Draw the number of rows of each cluster: a constant, uniform, or lognormal (many of 1 or 2, some of 20)."""
    if kind == "1 to 9":
        return generator.integers(1, 10, count)
    if kind == "lognormal":
        return 1 + generator.poisson(np.exp(generator.normal(1, 1, count)))
    return np.full(count, int(kind))


def draw_beta(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros and ones whose clusters have rates of a beta distribution, correlated within a cluster."""
    if correlation == 0:
        return (generator.random(sizes.sum()) < rate).astype(float)
    strength = 1 / correlation - 1
    rates = generator.beta(rate * strength, (1 - rate) * strength, len(sizes))
    return (generator.random(sizes.sum()) < np.repeat(rates, sizes)).astype(float)


def draw_copies(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros and ones, each with probability sqrt(correlation) a copy of one draw of its cluster."""
    own = generator.random(sizes.sum()) < rate
    shared = np.repeat(generator.random(len(sizes)) < rate, sizes)
    return np.where(generator.random(sizes.sum()) < np.sqrt(correlation), shared, own).astype(float)


def draw_ties(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw zeros, halves and ones of mean `rate`: means of two draws of `draw_beta`."""
    return (draw_beta(rate, correlation, sizes, generator) + draw_beta(rate, correlation, sizes, generator)) / 2


def draw_normal(rate: float, correlation: float, sizes: Sizes, generator: np.random.Generator) -> Floats:
    """Draw normal numbers of mean `rate` and variance 1, correlated within a cluster."""
    shared = np.repeat(generator.normal(size=len(sizes)), sizes)
    return rate + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * generator.normal(size=sizes.sum())


Draw = Callable[[float, float, Sizes, np.random.Generator], Floats]


def cover_mean(draw: Draw, cell: tuple[str, int, float, float], draws: int, seed: int) -> tuple[float, float]:
    """Return how often the interval of a mean holds it, and its mean width; `cell`: sizes, clusters, correlation, rate.

    Without an interval a draw counts as covered, of width 1: nothing was claimed.
    """
    kind, count, correlation, rate = cell
    generator = np.random.default_rng(seed)
    covered, width = 0, 0.0
    for _ in range(draws):
        sizes = draw_sizes(kind, count, generator)
        clusters = np.repeat(np.arange(count).astype(str), sizes).tolist()
        values = draw(rate, correlation, sizes, generator)
        low, high = (mean_interval if draw is draw_normal else rate_interval)(values, clusters) or (0.0, 1.0)
        covered, width = covered + (low <= rate <= high), width + high - low
    return covered / draws, width / draws


def cover_alpha(items: int, annotators: int, shape: float, draws: int, seed: int) -> tuple[float, float, float]:
    """Return the true alpha of two labels, how often its interval holds it, and its mean width.

    The probability of the first label is of a symmetric beta distribution in each item: the smaller `shape`, the more
    often all agree. Draws where all labels are equal have no alpha and are left out.
    """
    generator = np.random.default_rng(seed)
    alpha = 1 - 2 * shape / (2 * shape + 1)
    intervals = []
    for _ in range(draws):
        first = generator.binomial(annotators, generator.beta(shape, shape, items)).astype(float)
        table = AgreementTable(np.stack([first, annotators - first], axis=1), np.arange(2.0))
        intervals.append(table.alpha_interval())
    bounds = np.array([interval for interval in intervals if interval])
    return (
        alpha,
        float(((bounds[:, 0] <= alpha) & (alpha <= bounds[:, 1])).mean()),
        float(np.ptp(bounds, axis=1).mean()),
    )


def print_means(draws: int, seed: int) -> None:
    """Print coverage and width for each way to draw, kind and number of clusters, and rate."""
    cells = list(product(CLUSTERS, RATES))
    print(
        "| drawn | rows a cluster | correlation | " + " | ".join(f"{count} at {rate}" for count, rate in cells) + " |"
    )
    print("|---" * (3 + len(cells)) + "|")
    ways: dict[str, Draw] = {"beta": draw_beta, "copies": draw_copies, "halves": draw_ties, "normal": draw_normal}
    for name, draw in ways.items():
        worst = 1.0
        for kind, correlation in product(SIZES, CORRELATIONS):
            if kind == "1" and correlation:
                continue
            shown = []
            for count, rate in cells:
                coverage, width = cover_mean(draw, (kind, count, correlation, rate), draws, seed)
                worst = min(worst, coverage)
                shown.append(f"{coverage:.3f} ({width:.2f})")
            print(f"| {name} | {kind} | {correlation} | " + " | ".join(shown) + " |", flush=True)
        print(f"least coverage of {name}: {worst:.3f}")


def print_alphas(draws: int, seed: int) -> None:
    """Print the coverage and width of the interval of alpha."""
    for items, annotators, shape in product(CLUSTERS, (2, 5), (1.0, 0.2, 0.05)):
        alpha, coverage, width = cover_alpha(items, annotators, shape, draws, seed)
        print(f"alpha {alpha:.2f}  {items} items of {annotators} labels: {coverage:.3f} ({width:.2f})", flush=True)


CROWDS = ("bluebirds", "face", "product", "rte", "wsd")
SIMULATED = ("many classes", "few labels", "alike", "one-sided", "rare class", "random", "hard items", "dense")
CROWD_KIT = """
import json, sys
import pandas as pd
from crowdkit.aggregation.classification import GLAD, MACE
table = pd.DataFrame(json.load(sys.stdin))
for name, model in (("MACE", MACE(random_state=0, n_restarts=3)), ("GLAD", GLAD(silent=True))):
    print(json.dumps([name, model.fit_predict(table).sort_index().tolist()]))
"""
WAYS: dict[str, dict[str, bool] | None] = {"ours": {}, "one coin": {"symmetric": True}, "no prior": {"prior": False}}
Crowd = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Items, annotators and labels, [N] each, and the true class of each item, -1 where it is unknown."""


def read_crowd(data: Path, name: str) -> Crowd:
    """Read one of `CROWDS`; an annotator's first label of an item counts."""
    folder = data / "crowd-labels"
    if name in ("rte", "wsd"):
        with gzip.open(folder / f"snow2008/{name}.standardized.tsv.gz", "rt") as file:
            rows = [
                (row["orig_id"], row["!amt_worker_ids"], row["response"], row["gold"])
                for row in csv.DictReader(file, delimiter="\t")
            ]
        gold = {item: answer for item, _, _, answer in rows}
    else:
        with gzip.open(folder / name / "truth.csv.gz", "rt") as file:
            gold = {row["question"]: row["truth"] for row in csv.DictReader(file)}
        with gzip.open(folder / name / "answer.csv.gz", "rt") as file:
            rows = [(row["question"], row["worker"], row["answer"], "") for row in csv.DictReader(file)]
    first = {(item, annotator): label for item, annotator, label, _ in reversed(rows)}
    labels = sorted(set(first.values()))
    items, item = np.unique([key[0] for key in first], return_inverse=True)
    annotator = np.unique([key[1] for key in first], return_inverse=True)[1]
    truth = [labels.index(gold[name]) if gold.get(name) in labels else -1 for name in items.tolist()]
    return item, annotator, np.array([labels.index(label) for label in first.values()]), np.array(truth)


def draw_confusions(kind: str, generator: np.random.Generator) -> tuple[Floats, int, int]:
    """Return matrices [annotators, true, given] of one of `SIMULATED`, how many items, and how many labels of each."""
    annotators, classes, items, labels = {
        "many classes": (40, 20, 300, 5),
        "few labels": (500, 3, 500, 5),
        "alike": (150, 4, 200, 3),
        "one-sided": (30, 2, 400, 5),
        "rare class": (40, 2, 500, 3),
        "random": (30, 4, 300, 5),
        "hard items": (60, 2, 400, 7),
        "dense": (20, 3, 150, 20),
    }[kind]
    low, high = {"many classes": (0.4, 0.8), "alike": (0.6, 0.6), "rare class": (0.7, 0.95)}.get(kind, (0.45, 0.9))
    accuracy = generator.uniform(low, high, annotators)[:, None, None]
    right = np.eye(classes, dtype=bool)
    confusion = np.where(right, accuracy, (1 - accuracy) / (classes - 1))
    if kind == "many classes":  # most errors are to one other class
        confusion = accuracy * right + (1 - accuracy) * (0.6 * np.roll(right, 1, axis=1) + 0.4 / classes)
    if kind == "one-sided":  # the second class is often missed, the first seldom
        missed = generator.uniform(0.25, 0.65, annotators)
        confusion[:, 0], confusion[:, 1] = [0.95, 0.05], np.stack([missed, 1 - missed], axis=1)
    if kind == "random":  # two in five answer without looking, each with tastes of their own
        confusion[:12] = generator.dirichlet(np.full(classes, 0.5), 12)[:, None]
    return confusion, items, labels


def draw_crowd(kind: str, seed: int) -> Crowd:
    """Draw a crowd of one of `SIMULATED`: a few annotators give most labels, as in real ones."""
    generator = np.random.default_rng(seed)
    confusion, num_items, num_labels = draw_confusions(kind, generator)
    annotators, classes = confusion.shape[:2]
    shares = [0.1, 0.9] if kind == "rare class" else np.full(classes, 1 / classes)
    truth = generator.choice(classes, num_items, p=shares)
    often = generator.pareto(1.2, annotators) + 0.3
    ease, skill = generator.exponential(1, num_items), generator.uniform(0.3, 2.5, annotators)
    items = np.repeat(np.arange(num_items), num_labels)
    judges = [generator.choice(annotators, num_labels, False, often / often.sum()) for _ in range(num_items)]
    annotator = np.concatenate(judges)
    rows = confusion[annotator, truth[items]]
    if kind == "hard items":  # as GLAD has it: right with probability sigmoid(ease * skill)
        right = 1 / (1 + np.exp(-ease[items] * skill[annotator]))
        rows = np.where(np.arange(2) == truth[items][:, None], right[:, None], 1 - right[:, None])
    labels = (generator.random(len(items))[:, None] > rows.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return items, np.unique(annotator, return_inverse=True)[1], labels, truth


def label_crowd(crowd: Crowd, crowd_kit: str | None) -> dict[str, Floats]:
    """Return for each method the probability that it labels each item rightly, [items]: a share where classes tie."""
    items, annotators, labels, truth = crowd
    votes = np.zeros((len(truth), int(max(labels.max(), truth.max())) + 1))
    np.add.at(votes, (items, labels), 1)
    scores = {"majority": votes}
    for name, settings in WAYS.items():
        scores[name] = dawid_skene(items, annotators, labels, votes.shape[1], **(settings or {})).probabilities
    if crowd_kit:
        columns = {"task": items.tolist(), "worker": annotators.tolist(), "label": labels.tolist()}
        done = subprocess.run(
            [crowd_kit, "-c", CROWD_KIT], input=json.dumps(columns), capture_output=True, text=True, check=True
        )
        for name, chosen in map(json.loads, done.stdout.splitlines()):
            scores[name] = np.eye(votes.shape[1])[chosen]
    right = {}
    for name, score in scores.items():
        best = score >= score.max(axis=1, keepdims=True) - 1e-9
        right[name] = best[np.arange(len(truth)), truth.clip(0)] / best.sum(axis=1)
    return {name: each[truth >= 0] for name, each in right.items()}


def score_left_out_votes(crowd: Crowd, settings: dict[str, bool] | None, folds: int = 5) -> float:
    """Return the mean log-probability, in nats, of votes that were left out in turn, by the other votes.

    Without `settings` it is by the votes on the same item alone, with one pseudo-vote of the panel's shares. An
    annotator who has no other vote is a mean of all; an item that has none has the class prior.
    """
    items, annotators, labels, _ = crowd
    classes, fold = int(labels.max()) + 1, np.random.default_rng(0).integers(folds, size=len(items))
    scores = np.zeros(len(items))
    for left_out in (fold == number for number in range(folds)):
        if settings is None:
            votes = np.zeros((int(items.max()) + 1, classes)) + np.bincount(labels[~left_out]) / (~left_out).sum()
            np.add.at(votes, (items[~left_out], labels[~left_out]), 1)
            scores[left_out] = (votes / votes.sum(axis=1, keepdims=True))[items[left_out], labels[left_out]]
            continue
        crowd_fit = dawid_skene(*(each[~left_out] for each in (items, annotators, labels)), classes, **settings)
        truth = np.tile(crowd_fit.class_prior, (int(items.max()) + 1, 1))
        truth[crowd_fit.items] = crowd_fit.probabilities
        confusion = np.tile(crowd_fit.confusion.mean(axis=0), (int(annotators.max()) + 1, 1, 1))
        confusion[crowd_fit.annotators] = crowd_fit.confusion
        given = confusion[annotators[left_out], :, labels[left_out]]
        scores[left_out] = (truth[items[left_out]] * given).sum(axis=1)
    return float(np.log(np.maximum(scores, 1e-12)).mean())


def read_arguments(data: Path) -> Crowd:
    """Read the votes of ukp-convarg1: left, right or tie of pairs of arguments."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import ukp_convarg1

    records = list(ukp_convarg1.judgements(data / "ukp-convarg1"))
    pairs = [f"{record['left']['model']} {record['right']['model']}" for record in records]
    items, item = np.unique(pairs, return_inverse=True)
    annotator = np.unique([record["annotator"] for record in records], return_inverse=True)[1]
    labels = np.array([["left", "right", "tie"].index(record["choice"]) for record in records])
    return item, annotator, labels, np.full(len(items), -1)


def print_consensus(data: Path, crowd_kit: str | None) -> None:
    """Print accuracies, regrets to the best method, and McNemar's tests of ours against the majority after Holm."""
    regrets, p_values = [], {}
    for name in CROWDS:
        right = label_crowd(read_crowd(data, name), crowd_kit)
        accuracy = {method: 100 * float(each.mean()) for method, each in right.items()}
        regrets.append(max(accuracy.values()) - accuracy["ours"])
        worse, better = ((right["ours"] - right["majority"]) * sign > 0.5 for sign in (-1, 1))
        changed = int(worse.sum() + better.sum())
        p_values[name] = binomtest(int(worse.sum()), changed, alternative="greater").pvalue if changed else 1.0
        print(f"{name}: " + "  ".join(f"{method} {each:.2f}" for method, each in accuracy.items()), flush=True)
    adjusted = [min(1.0, p * (len(p_values) - place)) for place, p in enumerate(sorted(p_values.values()))]
    print(f"mean regret of ours {np.mean(regrets):.2f} points; least p of falling below the majority {adjusted[0]:.3f}")
    arguments = read_arguments(data)
    for name, settings in (WAYS | {"votes on the item": None}).items():
        print(f"ukp-convarg1, left-out votes, {name}: {score_left_out_votes(arguments, settings):.4f} nats", flush=True)
    for kind in SIMULATED:
        crowds = [label_crowd(draw_crowd(kind, seed), None) for seed in range(20)]
        means = {method: np.mean([100 * crowd[method].mean() for crowd in crowds]) for method in crowds[0]}
        print(f"{kind}, 20 seeds: " + "  ".join(f"{method} {each:.1f}" for method, each in means.items()), flush=True)


def print_watching(draws: int, seed: int) -> None:
    """Print, of win rates followed over 1,000 prompts with a tenth of ties, how often they exclude the truth."""
    generator, looks = np.random.default_rng(seed), np.arange(1, 1001)
    for rate in (0.5, 0.55, 0.6, 0.8, 0.95):
        shares = [rate - 0.05, 0.1, 0.95 - rate]
        missed = fixed = 0
        for _ in range(draws):
            values = generator.choice([1.0, 0.5, 0.0], len(looks), p=shares)
            missed += log_capital(*count_values(values, looks), rate).max() >= np.log(20)
            means = np.cumsum(values) / looks
            deviations = np.sqrt(np.maximum(np.cumsum(values**2) / looks - means**2, 0) / looks)
            fixed += (np.abs(means - rate) > 1.96 * deviations)[49:].any()
        print(f"rate {rate}: confidence sequence {missed / draws:.3f}, mean ± 1.96 s from 50 on {fixed / draws:.3f}")
    for rate in (0.55, 0.6, 0.7):
        halves = {power: plan_watching(rate, power, seed) for power in (0.5, 0.8)}
        print(f"rate {rate}: excludes 1/2 after {halves[0.5]} (half of them) and {halves[0.8]} (80%) prompts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    intervals = verbs.add_parser("intervals", help="coverage and width of intervals of shares, means and alpha")
    intervals.add_argument("--draws", type=int, default=2000, help="draws of each cell")
    intervals.add_argument("--seed", type=int, default=0)
    consensus = verbs.add_parser("consensus", help="accuracy of consensus labels on real and simulated crowds")
    consensus.add_argument("--data", type=Path, default=Path("../shared/data"))
    consensus.add_argument("--crowd-kit", metavar="PYTHON", help="an interpreter that has crowd-kit")
    detection = verbs.add_parser("detection", help="false flags in honest crowds, and the power of each flag")
    detection.add_argument("--crowds", type=int, default=1000)
    detection.add_argument("--seed", type=int, default=0)
    detection.add_argument("--jobs", type=int, default=os.cpu_count())
    watching = verbs.add_parser("watching", help="intervals that are looked at all the time")
    watching.add_argument("--draws", type=int, default=2000)
    watching.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.verb == "watching":
        print_watching(given.draws, given.seed)
        return
    if given.verb == "detection":
        print_detection(given.crowds, given.seed, given.jobs)
        return
    if given.verb == "consensus":
        print_consensus(given.data, given.crowd_kit)
        return
    print_means(given.draws, given.seed)
    print_alphas(given.draws, given.seed)


if __name__ == "__main__":
    main()
