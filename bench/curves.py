"""Forecasts of learning curves: how often the 80 % interval holds what happens with more comparisons.

`python bench/curves.py --data ../shared/data [--splits 20]` draws, of each public set of preferences, splits into
held-out pairs, pairs that there are and pairs to come; fits ridge logistic regressions on bags of words, and prints for
each set how often the forecast from refits on half, a quarter and an eighth holds the accuracy measured with more.
`python bench/curves.py simulated [--splits 20]` does so on simulated preferences whose features are known.
"""

import argparse
import gzip
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from likelier.explain.forecast import CurvePoint, choose_sizes, forecast_accuracy
from likelier.intervals import Floats, rate_interval
from likelier.records import Preference
from likelier.reward.check import chosen_and_rejected, fit_logistic, make_vocabulary, word_counts

ORDERS = 4
SHARES = (1.25, 1.5, 2.0)
"""Sizes that are forecast, over the size that there is."""
Fit = Callable[[Sequence[int]], float]
"""Rows to train on to the accuracy on held-out pairs."""


def read_lines(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def read_hh(path: Path) -> list[Preference]:
    pairs = []
    for line in read_lines(path):
        prompt, _, chosen = line["chosen"].rpartition("\n\nAssistant:")
        rejected = line["rejected"].rpartition("\n\nAssistant:")[2]
        pairs.append(Preference(prompt, chosen, rejected, conversation=prompt))
    return pairs


def read_autoj(path: Path) -> list[Preference]:
    return [
        Preference(
            line["prompt"],
            *order_pair(line["response 1"], line["response 2"], line["label"] == 0),
            conversation=line["prompt"],
        )
        for line in read_lines(path)
        if line["label"] != 2
    ]


def order_pair(first: str, second: str, first_is_better: bool) -> tuple[str, str]:
    return (first, second) if first_is_better else (second, first)


def read_summaries(folder: Path) -> list[Preference]:
    pairs = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            text = file.read()
        lines = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        for line in lines:
            post = line["info"].get("post") or line["info"].get("article")
            texts = [summary["text"] for summary in line["summaries"]]
            pairs.append(Preference(post, *order_pair(*texts, line["choice"] == 0), conversation=post))
    return pairs


def read_arguments(folder: Path) -> list[Preference]:
    pairs = []
    for path in sorted(folder.glob("*.xml.gz")):
        with gzip.open(path) as file:
            for entry in ET.parse(file).getroot().iter("annotatedArgumentPair"):
                gold = entry.findtext("goldLabel")
                if gold in ("a1", "a2"):
                    texts = [entry.find(side).findtext("text") for side in ("arg1", "arg2")]
                    pairs.append(
                        Preference(path.stem, *order_pair(*texts, gold == "a1"), conversation=entry.findtext("id"))
                    )
    return pairs


def read_fine_grained(path: Path) -> list[Preference]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = json.load(file)
    sides = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    return [
        Preference(
            line["question"],
            *order_pair(line[f"prediction {a}"], line[f"prediction {b}"], said == 1),
            conversation=line["question"],
        )
        for line in lines
        for (a, b), said in zip(sides, line["preference"], strict=True)
        if said
    ]


def read_sets(data: Path) -> dict[str, list[Preference]]:
    """Return the preferences of each public set."""
    sets = {path.name.partition(".")[0]: read_hh(path) for path in sorted((data / "hh-rlhf").glob("*.jsonl.gz"))}
    sets["autoj"] = read_autoj(data / "autoj-human-pairs" / "testdata_pairwise.jsonl.gz")
    sets["summarize-from-feedback"] = read_summaries(data / "summarize-from-feedback")
    sets["ukp-convarg1"] = read_arguments(data / "ukp-convarg1")
    sets["fine-grained-rlhf"] = read_fine_grained(data / "fine-grained-rlhf" / "dev_feedback.json.gz")
    return sets


def make_word_features(pairs: Sequence[Preference]) -> csr_matrix:
    """Return differences of bags of words, with the difference of lengths."""
    chosen, rejected = chosen_and_rejected(pairs)
    vocabulary = make_vocabulary([*chosen, *rejected], min_texts=5)
    return csr_matrix(word_counts(chosen, vocabulary) - word_counts(rejected, vocabulary))


def make_fit(features: csr_matrix | Floats, test: Sequence[int], generator: np.random.Generator) -> Fit:
    """Return the accuracy on `test` of a ridge logistic regression, in pairs oriented at random."""
    penalty = float(generator.choice([3.0, 10.0, 30.0]))

    def fit(rows: Sequence[int]) -> float:
        weights = fit_logistic(features[rows], np.ones(len(rows)), np.ones(len(rows)), penalty)
        difference = features[test] @ weights
        return float(np.mean((np.sign(difference) + 1) / 2))

    return fit


def simulate(seed: int) -> tuple[Floats, list[str]]:
    """Return features and clusters of simulated preferences: 40 to 400 directions of falling worth, people who err."""
    generator = np.random.default_rng(seed)
    dimensions, count = int(generator.integers(40, 400)), 4000
    taste = generator.normal(size=dimensions) * np.arange(1, dimensions + 1) ** -generator.uniform(0, 1)
    features = generator.normal(size=(count, dimensions))
    difference = features @ taste * generator.uniform(0.5, 4) / np.linalg.norm(taste)
    right = generator.random(count) < 1 / (1 + np.exp(-difference))
    return features * np.where(right, 1, -1)[:, None], [str(number) for number in range(count)]


def try_forecasts(
    fit: Fit, order: Floats, size: int, generator: np.random.Generator
) -> list[tuple[float, float, float, float, float]]:
    """Return (share, low, high, measured gain, mean gain) of each forecast from the first `size` rows of `order`."""
    there = order[:size]
    points = [CurvePoint(size, -1, fit(there))]
    for number in range(ORDERS):
        drawn = generator.permutation(there)
        points += [CurvePoint(part, number, fit(drawn[:part])) for part in choose_sizes(size)]
    now, tried = points[0].accuracy, []
    for share in SHARES:
        larger = int(share * size)
        forecast = forecast_accuracy(points, larger)
        low, high = forecast.interval
        tried.append((share, low - now, high - now, fit(order[:larger]) - now, forecast.mean - now))
    return tried


def split_rows(clusters: Sequence[str], generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return rows of a held-out quarter, and the others in a random order, whole clusters each."""
    names = generator.permutation(np.unique(clusters))
    place = {name: number for number, name in enumerate(names)}
    order = np.argsort([place[name] for name in clusters], kind="stable")
    held_out = np.array([place[clusters[row]] < len(names) / 4 for row in order])
    return order[held_out], order[~held_out]


def print_coverage(name: str, tried: Sequence[tuple[float, float, float, float, float]], splits: Sequence[str]) -> None:
    """Print how often the interval held the measured gain, its width and the mean error, in points."""
    values = np.array(tried)
    held = (values[:, 1] <= values[:, 3]) & (values[:, 3] <= values[:, 2])
    by_share = ", ".join(f"x{share} {held[values[:, 0] == share].mean():.2f}" for share in SHARES)
    low, high = rate_interval(held, splits) or [0, 1]
    below, width = np.mean(values[:, 3] < values[:, 1]), 100 * (values[:, 2] - values[:, 1]).mean()
    gain, expected = 100 * values[:, 3:5].mean(axis=0)
    print(
        f"{name:<26} held {held.mean():.2f} ({low:.2f} to {high:.2f}; {by_share}); below {below:.2f}; "
        f"width {width:.1f}, gain {gain:+.1f}, forecast {expected:+.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["real", "simulated"], default="real")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    everything, names = [], []
    if options.what == "simulated":
        for seed in range(options.splits):
            features, clusters = simulate(seed)
            generator = np.random.default_rng(seed)
            test, order = split_rows(clusters, generator)
            size = int(generator.integers(100, 1400))
            everything += try_forecasts(make_fit(features, test, generator), order, size, generator)
            names += [str(seed)] * len(SHARES)
        print_coverage("simulated", everything, names)
        return
    for name, pairs in read_sets(options.data).items():
        features, clusters, own, splits = make_word_features(pairs), [pair.conversation for pair in pairs], [], []
        for seed in range(options.splits):
            generator = np.random.default_rng(seed)
            test, order = split_rows(clusters, generator)
            size = len(order) // int(generator.choice([2, 4]))
            own += try_forecasts(make_fit(features, test, generator), order, size, generator)
            splits += [f"{name} {seed}"] * len(SHARES)
        print_coverage(f"{name} ({len(pairs)})", own, splits)
        everything, names = everything + own, names + splits
    print_coverage("all", everything, names)


if __name__ == "__main__":
    sys.exit(main())
