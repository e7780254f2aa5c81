"""Benchmark files: LLMBar and RewardBench 2."""

import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from likelier.config import build_config
from likelier.errors import DataError
from likelier.explain.benchmark import Item, Margins, count_chance, measure_benchmark, read_benchmark, score_ties
from likelier.explain.run import RewardRun
from likelier.intervals import t_interval
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
    assert (found["subset"], found["prompts"], found["score"], found["chance"]) == ("Natural", 2, 0.5, 0.5)


def test_every_chosen_answer_has_to_stand_above_every_rejected_one(tmp_path: Path) -> None:
    records = [
        {"id": "1", "prompt": "p", "chosen": ["lengthy"], "rejected": ["a", "bb", "ccc"], "subset": "Math"},
        {"id": "2", "prompt": "p", "chosen": ["lengthy"], "rejected": ["a", "bb", "equally"], "subset": "Math"},
        {"id": "3", "prompt": "p", "chosen": ["four", "5five"], "rejected": ["six", "7"], "subset": "Ties"},
    ]
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    maths, ties = measure_benchmark(RUN, path)
    assert (maths["subset"], maths["score"], maths["chance"]) == ("Math", 0.75, 0.25)  # 1, and 1/2 for an equal score
    assert (ties["subset"], ties["score"], ties["chance"]) == ("Ties", 1.0, pytest.approx(1 / 6))
    assert maths["interval"][0] < 0.75 < maths["interval"][1]


def test_rewardbench_2s_columns_and_its_score_of_ties(tmp_path: Path) -> None:
    def record(name: str, chosen: list[str], rejected: list[str]) -> dict[str, object]:
        counts = {"num_correct": len(chosen), "num_incorrect": len(rejected), "total_completions": 1}
        return {"id": name, "prompt": "p", "chosen": chosen, "rejected": rejected, "subset": "Ties"} | counts

    records = [
        record("ref:0", ["x" * 10], ["x" * 7]),  # gap 3
        record("tied:0", ["x" * 10, "x" * 9], ["x" * 5, "x"]),  # gap 4, spread 1: lower gap 3
        record("ref:1", ["x" * 6], ["x" * 5]),  # gap 1
        record("tied:1", ["x" * 10, "x" * 8], ["x" * 5]),  # gap 3, spread 2: lower gap 1
        record("ref:2", ["x" * 4], ["x" * 4]),  # gap 0: wrong
        record("tied:2", ["x" * 4, "x" * 4], ["x" * 6]),  # gap -2, spread 0: wrong, tanh(-inf) = -1
    ]
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    (ties,) = measure_benchmark(RUN, path)
    closeness = (math.tanh(3 / 1 - 1) + math.tanh(1 / 2 - 1) - 1) / 3
    hand = 0.3 * 2 / 3 + 0.3 * 2 / 3 + 0.2 * 2 / 3 + 0.2 * 1 / 3 + 0.01 * closeness
    assert (ties["subset"], ties["prompts"], ties["score"]) == ("Ties", 6, pytest.approx(hand, abs=1e-12))
    # Each question has both prompts, so the score is a mean over questions, with its Student interval.
    each = [1 + 0.01 * math.tanh(2), 0.8 + 0.01 * math.tanh(-0.5), -0.01]
    assert ties["interval"] == pytest.approx(t_interval(each))
    assert ties["chance"] is None


def test_ties_with_right_answers_of_one_score() -> None:
    certain = {"ref": Margins(gap=1.0, spread=0.0), "tied": Margins(gap=2.0, spread=0.0)}
    undecided = {"ref": Margins(gap=0.0, spread=0.0), "tied": Margins(gap=0.0, spread=0.0)}
    assert score_ties([certain]) == pytest.approx(1.01)
    assert score_ties([undecided]) == 0.0
    assert score_ties([{"tied": Margins(gap=2.0, spread=0.0)}]) == pytest.approx(0.3)


def test_llmbars_subset_is_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "Adversarial" / "Neighbor" / "dataset.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([{"input": "p", "output_1": "same", "output_2": "size", "label": 1}]))
    (found,) = measure_benchmark(RUN, path)
    assert (found["subset"], found["score"]) == ("Neighbor", 0.5)


def test_parquet_as_rewardbench_2_is_published(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    row = {
        "id": "7",
        "prompt": "p",
        "chosen": ["long"],
        "rejected": ["a", "b", "c"],
        "num_correct": 1,
        "subset": "Focus",
    }
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test.parquet")
    assert read_benchmark(tmp_path / "test.parquet") == [Item("p", ["long"], ["a", "b", "c"], "Focus", "7")]


def test_what_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}')
    with pytest.raises(DataError, match=r"x.jsonl:1: neither LLMBar's"):
        read_benchmark(path)
    path.write_text('{"prompt": "p", "chosen": ["a"], "rejected": ["b"], "num_correct": 2}')
    with pytest.raises(DataError, match="num_correct is 2, chosen has 1 answers"):
        read_benchmark(path)
    path.write_text("{")
    with pytest.raises(DataError, match="JSON"):
        read_benchmark(path)
    with pytest.raises(DataError, match="absent.json"):
        read_benchmark(tmp_path / "absent.json")


def test_chance() -> None:
    assert (count_chance(1, 1), count_chance(1, 3), count_chance(2, 2)) == (0.5, 0.25, pytest.approx(1 / 6))
