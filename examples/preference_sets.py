"""Four sets of real people's preferences, for `transfer.py` and `transfer_heads.py`: read, divided, drawn from."""

import gzip
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from human_preferences import FILES, import_set, short, votes

from likelier.errors import ConfigError
from likelier.intervals import t_interval
from likelier.records import Preference

NAMES = (*FILES, "autoj")
SHOTS, TESTED = (20, 100), 400
"""Comparisons of a new set that are learned from, and held out of each set, at most."""
Sets = dict[str, tuple[list[Preference], list[Preference]]]
"""By name: comparisons to learn from, and held-out ones."""


def load_sets(data: Path, out: Path, names: Sequence[str], most: int, seed: int) -> Sets:
    """Read and divide the sets of these names; at most so many comparisons to learn from."""
    read = read_sets(data, out)
    sets = {name: divide(read[name], most, seed) for name in names}
    for name, (learn, _) in sets.items():
        if len(learn) < max(SHOTS):
            raise ConfigError(
                f"--most {most}: {name} has {len(learn)} comparisons to learn from; {max(SHOTS)} are drawn"
            )
    return sets


def read_sets(data: Path, out: Path) -> dict[str, list[Preference]]:
    """The comparisons of each set that have a winner, one a pair of responses."""
    shutil.rmtree(out / "imported", ignore_errors=True)
    sets = {name: votes(import_set(name, data / name, out)) for name in FILES}
    lines = gzip.decompress((data / "autoj-human-pairs" / "testdata_pairwise.jsonl.gz").read_bytes()).decode()
    judged = [json.loads(line) for line in lines.splitlines()]
    sets["autoj"] = [
        Preference(each["prompt"], *order(each), conversation=each["prompt"]) for each in judged if each["label"] != 2
    ]
    return {name: [short(pair) for pair in pairs if pair.target > 0.5] for name, pairs in sets.items()}


def order(judged: dict[str, Any]) -> tuple[str, str]:
    """The better response first."""
    both = judged["response 1"], judged["response 2"]
    return both if judged["label"] == 0 else both[::-1]


def divide(pairs: Sequence[Preference], most: int, seed: int) -> tuple[list[Preference], list[Preference]]:
    """Comparisons to learn from, and others of conversations that are not among them."""
    groups = sorted({pair.conversation for pair in pairs})
    random.Random(seed).shuffle(groups)
    test, kept = [], set[str]()
    for group in groups:
        if len(test) < min(TESTED, len(pairs) // 3):
            test += [pair for pair in pairs if pair.conversation == group]
            kept.add(group)
    learn = [pair for pair in pairs if pair.conversation not in kept]
    draw = random.Random(seed + 1)
    return draw.sample(learn, min(most, len(learn))), draw.sample(test, min(TESTED, len(test)))


def draw_some(target: str, fresh: list[Any], shots: int, draws: int) -> list[list[Any]]:
    """The same few comparisons of a set for every way."""
    return [random.Random(f"{target} {number}").sample(fresh, shots) for number in range(draws)]


def measure_length(test: Sequence[Preference]) -> dict[str, float]:
    """Accuracy of the longer one."""
    return {"longer": mean((len(p.chosen) > len(p.rejected)) + 0.5 * (len(p.chosen) == len(p.rejected)) for p in test)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Their mean, and its 95 % interval."""
    return {"mean": mean(values), "interval over draws": t_interval(values)}
