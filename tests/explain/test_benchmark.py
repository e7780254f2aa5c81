"""Benchmark files: LLMBar and RewardBench 2."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from likelier.config import build_config
from likelier.errors import DataError
from likelier.explain.benchmark import count_chance, measure_benchmark, read_benchmark
from likelier.explain.run import RewardRun
from likelier.reward.pairs import Pairs


class LongerIsBetter:
    """A score that is the length of a response."""

    def score(self, prompts: list[str], responses: list[str]) -> torch.Tensor:
        return torch.tensor([float(len(response)) for response in responses])


RUN = RewardRun(Path(), build_config({}), Pairs([], [], [], ""), LongerIsBetter())  # type: ignore[arg-type]


def test_llmbar(tmp_path: Path) -> None:
    records = [
        {"input": "p", "output_1": "long", "output_2": "s", "label": 1},
        {"input": "q", "output_1": "long", "output_2": "s", "label": 2},
    ]
    path = tmp_path / "Natural.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump(records, file)
    (found,) = measure_benchmark(RUN, path)
    assert (found["subset"], found["prompts"], found["accuracy"], found["chance"]) == ("Natural", 2, 0.5, 0.5)


def test_rewardbench_2_wants_every_chosen_answer_above_every_rejected_one(tmp_path: Path) -> None:
    records = [
        {"id": "1", "prompt": "p", "chosen": ["lengthy"], "rejected": ["a", "bb", "ccc"], "subset": "Math"},
        {"id": "2", "prompt": "p", "chosen": ["lengthy"], "rejected": ["a", "bb", "equally"], "subset": "Math"},
        {"id": "3", "prompt": "p", "chosen": ["four", "5five"], "rejected": ["six", "7"], "subset": "Ties"},
    ]
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    maths, ties = measure_benchmark(RUN, path)
    assert (maths["subset"], maths["accuracy"], maths["chance"]) == ("Math", 0.5, 0.25)
    assert (ties["subset"], ties["accuracy"], ties["chance"]) == ("Ties", 1.0, pytest.approx(1 / 6))
    assert maths["interval"][0] < 0.5 < maths["interval"][1]


def test_what_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}')
    with pytest.raises(DataError, match=r"x.jsonl: record 1: neither LLMBar's"):
        read_benchmark(path)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_benchmark(path)
    with pytest.raises(DataError, match="absent.json"):
        read_benchmark(tmp_path / "absent.json")


def test_chance() -> None:
    assert (count_chance(1, 1), count_chance(1, 3), count_chance(2, 2)) == (0.5, 0.25, pytest.approx(1 / 6))
