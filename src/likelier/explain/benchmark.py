"""A reward model on benchmark files: LLMBar's pairs, and RewardBench 2's prompts with several answers."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likelier.errors import DataError
from likelier.explain.run import RewardRun
from likelier.files import explain_unreadable
from likelier.intervals import rate_interval


@dataclass(frozen=True)
class Item:
    """A prompt with answers that should score higher than the others."""

    prompt: str
    chosen: list[str]
    rejected: list[str]
    subset: str


def read_benchmark(path: Path) -> list[Item]:
    """Read LLMBar (`input`, `output_1`, `output_2`, `label` 1 or 2) or RewardBench 2 (`prompt`, `chosen`, `rejected`,
    lists of answers, `subset`): a JSON array or JSON lines, gzip'ed or not. DataError names file and record."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            text = file.read()
        records = json.loads(text) if text.lstrip().startswith("[") else list(map(json.loads, text.splitlines()))
        items = [*read_records(path, records)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {explain_unreadable(path)}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not items:
        raise DataError(f"{path}: no records")
    return items


def read_records(path: Path, records: list[Any]) -> Iterator[Item]:
    """Yield the items of a file. DataError: a record is of neither format."""
    for number, record in enumerate(records, 1):
        match record:
            case {"input": str(prompt), "output_1": str(first), "output_2": str(second), "label": 1 | 2 as label}:
                better, worse = (first, second) if label == 1 else (second, first)
                yield Item(prompt, [better], [worse], path.name.partition(".")[0])
            case {"prompt": str(prompt), "chosen": [str(), *_] as chosen, "rejected": [str(), *_] as rejected}:
                yield Item(prompt, list(map(str, chosen)), list(map(str, rejected)), str(record.get("subset", "all")))
            case _:
                raise DataError(
                    f"{path}: record {number}: neither LLMBar's input, output_1, output_2, label (1 or 2) nor "
                    "RewardBench 2's prompt, chosen, rejected (lists of texts), subset"
                )


def measure_benchmark(run: RewardRun, path: Path) -> list[dict[str, Any]]:
    """Return the accuracy by subset, with intervals over prompts: the share of prompts of which every chosen answer
    scores higher than every rejected one, and what chance gets. Equal scores count as wrong. DataError: the file."""
    items = read_benchmark(path)
    texts = [(item.prompt, answer) for item in items for answer in (*item.chosen, *item.rejected)]
    prompts, answers = zip(*texts, strict=True)
    scores = iter(run.ensemble.score(list(prompts), list(answers)).tolist())
    right: dict[str, list[float]] = {}
    chance: dict[str, list[float]] = {}
    for item in items:
        chosen, rejected = [next(scores) for _ in item.chosen], [next(scores) for _ in item.rejected]
        right.setdefault(item.subset, []).append(float(min(chosen) > max(rejected)))
        chance.setdefault(item.subset, []).append(count_chance(len(chosen), len(rejected)))
    return [
        {
            "subset": subset,
            "prompts": len(hits),
            "accuracy": sum(hits) / len(hits),
            "interval": rate_interval(hits, [str(row) for row in range(len(hits))]),
            "chance": sum(chance[subset]) / len(hits),
        }
        for subset, hits in right.items()
    ]


def count_chance(chosen: int, rejected: int) -> float:
    """Return the probability that random scores put all chosen answers first: one in (c + r) over c.

    >>> count_chance(1, 3), round(count_chance(2, 2), 4)
    (0.25, 0.1667)
    """
    chance = 1.0
    for number in range(chosen):
        chance *= (chosen - number) / (chosen + rejected - number)
    return chance
