"""How right is a reward model after 10 to 5,000 comparisons?

    python bench/sizes.py --data ../shared/data --base MINILM --out runs/sizes

UKPConvArg1's gold labels, six of 24 debates (a side each) held out. A bag of words and a head on frozen features of the
encoder `--base`, both ridge regressions, over `--splits` splits; and the small reward model from random weights of
examples/human_preferences.py, trained whole, over `--trained` splits. `explain/forecast.py` foretells the
accuracy with 5,000 from sets of up to 1,000. PYTHONPATH must name bench and examples.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from curves import make_word_features, read_arguments, split_rows
from human_preferences import train

from likelier.explain.forecast import CurvePoint, forecast_accuracy
from likelier.files import write_json
from likelier.intervals import Floats, t_interval
from likelier.records import Preference
from likelier.reward.check import fit_logistic
from likelier.text.reward_model import new_reward_model

SIZES = (10, 30, 100, 300, 1000, 3000, 5000)
PENALTIES = {"words": 10.0, "frozen encoder": 43.0}
"""Of the head: weights of standard deviation 3 / sqrt(384) for features of spread 1."""
KNOWN, ORDERS = (125, 250, 500, 1000), 4
"""Sizes that the forecast is made from, in so many orders."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--trained", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/sizes"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = read_arguments(given.data / "ukp-convarg1")
    columns = {"words": make_word_features(pairs), "frozen encoder": encode(given.base, pairs)}
    debates = [str(pair.prompt) for pair in pairs]
    found: dict[str, Any] = {name: [] for name in (*columns, "trained whole", "longer")}
    forecasts: dict[str, Any] = {name: [] for name in columns}
    for seed in range(given.splits):
        test, order = split_rows(debates, np.random.default_rng(seed))
        order = np.random.default_rng(seed).permutation(order)
        found["longer"].append(mean(len(pairs[row].chosen) > len(pairs[row].rejected) for row in test))
        for name, features in columns.items():
            fit = make_fit(features, test, PENALTIES[name])
            found[name].append([fit(order[:size]) for size in SIZES])
            forecasts[name].append(foretell(fit, order) | {"measured": found[name][-1][-1]})
        if seed < given.trained:
            asked = [pairs[row] for row in test]
            found["trained whole"].append([
                measure(given.out / str(seed) / str(size), [pairs[row] for row in order[:size]], asked, seed)
                for size in SIZES
            ])  # fmt: skip
    write_json(given.out / "sizes.json", {"sizes": SIZES, "found": found, "forecasts": forecasts})
    report(found, forecasts)


def encode(base: Path, pairs: Sequence[Preference]) -> Floats:
    """What a head reads of the better argument minus the same of the other one, of spread 1, [pairs, D]."""
    model = new_reward_model(base, "cpu", 200, torch.Generator().manual_seed(0), False)
    texts = sorted({text for pair in pairs for text in (pair.chosen, pair.rejected)})
    read = dict(zip(texts, model.features([""] * len(texts), texts).numpy().astype(float), strict=True))
    rows = np.array([read[pair.chosen] - read[pair.rejected] for pair in pairs])
    return rows / (rows.std(axis=0) + 1e-6)


def make_fit(features: Any, test: Floats, penalty: float) -> Callable[[Floats], float]:
    def fit(rows: Floats) -> float:
        weights = fit_logistic(features[rows], np.ones(len(rows)), np.ones(len(rows)), penalty)
        return float(np.mean(np.sign(features[test] @ weights) / 2 + 0.5))

    return fit


def foretell(fit: Callable[[Floats], float], order: Floats) -> dict[str, Any]:
    """The accuracy with the largest size, from sets within the first of `KNOWN`'s largest size."""
    there, generator = order[: KNOWN[-1]], np.random.default_rng(0)
    points = [CurvePoint(KNOWN[-1], -1, fit(there))]
    for number in range(ORDERS):
        drawn = generator.permutation(there)
        points += [CurvePoint(size, number, fit(drawn[:size])) for size in KNOWN[:-1]]
    forecast = forecast_accuracy(points, SIZES[-1])
    return {"forecast": forecast.mean, "interval": forecast.interval}


def measure(folder: Path, learn: Sequence[Preference], test: Sequence[Preference], seed: int) -> float:
    """Accuracy of a small reward model; a result that stands in the folder is read."""
    done = folder / "accuracy.json"
    if not done.exists():
        hits = np.sign(train(folder, 8000, 1, learn, seed, ())(test)["reward model"]) / 2 + 0.5
        write_json(done, {"accuracy": float(hits.mean())})
    return float(json.loads(done.read_text())["accuracy"])


def report(found: dict[str, Any], forecasts: dict[str, Any]) -> None:
    print("longer", np.mean(found["longer"]).round(3), t_interval(found["longer"]))
    for name in (*PENALTIES, *["trained whole"] * bool(found["trained whole"])):
        for size, values in zip(SIZES, np.array(found[name]).T, strict=True):
            spread = values.std(ddof=min(1, len(values) - 1))
            print(f"{name}, {size}: {values.mean():.3f}, standard deviation over splits {spread:.3f}")
    for name, tried in forecasts.items():
        held = mean(each["interval"][0] <= each["measured"] <= each["interval"][1] for each in tried)
        foretold, measured = (mean(each[key] for each in tried) for key in ("forecast", "measured"))
        print(f"{name}: 5,000 foretold from 1,000: {foretold:.3f}, measured {measured:.3f}, held {held:.2f}")


if __name__ == "__main__":
    main()
