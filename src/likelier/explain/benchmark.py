"""A reward model on benchmark files: LLMBar's pairs, and RewardBench 2's prompts with several answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from likelier.errors import DataError
from likelier.explain.run import RewardRun
from likelier.feedback.formats.sources import Row, name_container, open_rows, read_record
from likelier.intervals import Interval, rate_interval, student_interval

TIES = "ties"
"""The subset of RewardBench 2, in lower case, that has a score of its own."""


@dataclass(frozen=True)
class Item:
    """A prompt with answers that should score higher than the others."""

    prompt: str
    chosen: list[str]
    rejected: list[str]
    subset: str
    id: str = ""
    """`ref:N` or `tied:N` in the subset Ties: one right answer, and many, of the same question."""


@dataclass(frozen=True)
class Margins:
    """Statistics of the scores of a prompt for the Ties subset."""

    gap: float
    """The worst right answer less the best wrong one."""
    spread: float
    """The best right answer less the worst one."""


def read_benchmark(path: Path) -> list[Item]:
    """Read LLMBar (`input`, `output_1`, `output_2`, `label` 1 or 2) or RewardBench 2 (`prompt`, `chosen`, `rejected`,
    lists of answers, `num_correct`, `subset`, `id`): a JSON array, JSON lines or Parquet. DataError names file and
    record. LLMBar's subset is its folder's name where the file is called `dataset.json`, as all of LLMBar's are."""
    name = path.name.partition(".")[0]
    llmbar_subset = path.absolute().parent.name if name == "dataset" else name
    items = [read_item(row, llmbar_subset) for row in open_rows(path, name_container(path))]
    if not items:
        raise DataError(f"{path}: no records")
    return items


def read_item(row: Row, llmbar_subset: str) -> Item:
    """Return the item that a record holds. DataError: it is of neither format."""
    record = read_record(row)
    match record:
        case {"input": str(prompt), "output_1": str(first), "output_2": str(second), "label": 1 | 2 as label}:
            better, worse = (first, second) if label == 1 else (second, first)
            return Item(prompt, [better], [worse], llmbar_subset)
        case {"prompt": str(prompt), "chosen": [str(), *_] as chosen, "rejected": [str(), *_] as rejected}:
            if (count := record.get("num_correct", len(chosen))) != len(chosen):
                raise DataError(f"{row.where}: num_correct is {count!r}, chosen has {len(chosen)} answers")
            names = str(record.get("subset", "all")), str(record.get("id", ""))
            return Item(prompt, list(map(str, chosen)), list(map(str, rejected)), *names)
    raise DataError(
        f"{row.where}: neither LLMBar's input, output_1, output_2, label (1 or 2) nor "
        "RewardBench 2's prompt, chosen, rejected (lists of texts), subset"
    )


def measure_benchmark(run: RewardRun, path: Path) -> list[dict[str, Any]]:
    """Return the score on each subset, with intervals over prompts, and what chance gets (None for Ties).

    The score is the mean credit of `credit_item`, and of the subset Ties what `score_ties` says. DataError: the file.
    """
    items = read_benchmark(path)
    texts = [(item.prompt, answer) for item in items for answer in (*item.chosen, *item.rejected)]
    prompts, answers = zip(*texts, strict=True)
    scores = iter(run.ensemble.score(list(prompts), list(answers)).tolist())
    subsets: dict[str, list[tuple[Item, list[float], list[float]]]] = {}
    for item in items:
        chosen, rejected = [next(scores) for _ in item.chosen], [next(scores) for _ in item.rejected]
        subsets.setdefault(item.subset, []).append((item, chosen, rejected))
    return [{"subset": subset, "prompts": len(scored)} | measure_subset(scored) for subset, scored in subsets.items()]


def measure_subset(scored: list[tuple[Item, list[float], list[float]]]) -> dict[str, Any]:
    """Return score, interval and chance of one subset, given its items and the scores of their answers."""
    pairs = pair_ties(scored)
    if pairs:
        return {"score": score_ties(pairs), "interval": ties_interval(pairs), "chance": None}
    marks = [credit_item(chosen, rejected) for _, chosen, rejected in scored]
    chances = [count_chance(len(chosen), len(rejected)) for _, chosen, rejected in scored]
    return {
        "score": sum(marks) / len(marks),
        "interval": rate_interval(marks, [str(row) for row in range(len(marks))]),
        "chance": sum(chances) / len(chances),
    }


def credit_item(chosen: list[float], rejected: list[float]) -> float:
    """Return 1 where every chosen answer scores higher than every rejected one, else 0; a single chosen answer that
    shares the highest score with others gets one over how many they are, as RewardBench 2 counts.

    >>> credit_item([2.0], [1.0, 2.0, 2.0]) == 1 / 3
    True
    """
    if len(chosen) == 1 and chosen[0] == max(rejected):
        return 1 / (1 + rejected.count(chosen[0]))
    return float(min(chosen) > max(rejected))


def pair_ties(scored: list[tuple[Item, list[float], list[float]]]) -> list[dict[str, Margins]]:
    """Return the margins of each question of the subset Ties, by `ref` and `tied`; empty for other subsets."""
    questions: dict[str, dict[str, Margins]] = {}
    for item, chosen, rejected in scored:
        kind, _, question = item.id.partition(":")
        if item.subset.lower() != TIES or kind not in ("ref", "tied"):
            return []
        margins = Margins(min(chosen) - max(rejected), max(chosen) - min(chosen))
        questions.setdefault(question, {})[kind] = margins
    return list(questions.values())


def score_ties(questions: list[dict[str, Margins]]) -> float:
    """Return RewardBench 2's score of the subset Ties: -0.01 to 1.01, above 1 only by the last term.

    0.3 share of tied prompts with gap > 0, 0.3 of reference prompts, 0.2 of questions with the tied prompt's gap above
    its spread, 0.2 with both prompts' gaps above it, and 0.01 mean tanh(lower gap / spread - 1). Source: Malik et al.
    2025, "RewardBench 2", and `process_single_model` of its code.
    """
    ref, tied = ([each[kind].gap > 0 for each in questions if kind in each] for kind in ("ref", "tied"))
    both = [each for each in questions if len(each) == 2]
    spread, gap = np.array([[each["tied"].spread, each["tied"].gap] for each in both]).reshape(-1, 2).T
    lower = np.minimum(gap, [each["ref"].gap for each in both])
    with np.errstate(divide="ignore", invalid="ignore"):  # right answers of one score: the ratio is infinite, or 0 / 0
        closeness = np.nan_to_num(np.tanh(lower / spread - 1), nan=0.0)
    terms: tuple[tuple[float, ArrayLike], ...] = (
        (0.3, tied),
        (0.3, ref),
        (0.2, gap > spread),
        (0.2, lower > spread),
        (0.01, closeness),
    )
    return float(sum(weight * mean_or_zero(values) for weight, values in terms))


def mean_or_zero(values: ArrayLike) -> float:
    """Return the mean; 0 of nothing."""
    numbers = np.asarray(values, float)
    return float(numbers.mean()) if numbers.size else 0.0


def ties_interval(questions: list[dict[str, Margins]]) -> Interval | None:
    """Return the interval of `score_ties` by Student's t and the delete-one jackknife over questions."""
    count = len(questions)
    if count < 2:
        return None
    without = np.array([score_ties(questions[:row] + questions[row + 1 :]) for row in range(count)])
    return student_interval(score_ties(questions), float(without.var()) * (count - 1), count - 1)


def count_chance(chosen: int, rejected: int) -> float:
    """Return the probability that random scores put all chosen answers first: one in (c + r) over c.

    >>> count_chance(1, 3), round(count_chance(2, 2), 4)
    (0.25, 0.1667)
    """
    chance = 1.0
    for number in range(chosen):
        chance *= (chosen - number) / (chosen + rejected - number)
    return chance
