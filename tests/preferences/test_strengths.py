"""Intervals of answers with a strength, by hand, and through the folder of preferences."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from likelier.preferences.make import make_preferences
from likelier.preferences.strengths import Strengths
from likelier.records import JudgedComparison, Judgement, Preference, Prompt, Response, read_preferences


@dataclass(frozen=True)
class Person:
    id: str
    thresholds: tuple[float, float, float] | None = None
    guess_left: float | None = 0.5
    careless: float | None = 0.0
    error_rate: float | None = 0.1
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    annotators: list[Person] = field(default_factory=list)


class Source:
    num_ratings_dropped = 0

    def __init__(self, *items: JudgedComparison) -> None:
        self.items = list(items)

    def judged(self) -> list[JudgedComparison]:
        return self.items


def judge(prompt: str, annotator: str, choice: Any = "left", strength: int | None = None) -> JudgedComparison:
    asked = Prompt(prompt)
    left, right = Response(asked.id, "L"), Response(asked.id, "R")
    judgement = Judgement(f"c-{prompt}", annotator, left.id, right.id, choice, strength=strength)
    return JudgedComparison(judgement, asked, left, right)


def make(tmp_path: Path, items: list[JudgedComparison], check: Check | None) -> list[Preference]:
    make_preferences(Source(*items), tmp_path / "out", check)
    return [row for part in ("train", "valid", "test") for row in read_preferences(tmp_path / "out" / f"{part}.jsonl")]


def test_intervals_by_hand() -> None:
    """Of four answers of ann's two are slight, one strong, one a tie; bob has no thresholds."""
    items = [judge("p", "ann", "left", 1), judge("q", "ann", "right", 1), judge("r", "ann", "right", 3)]
    items += [judge("s", "ann", "tie"), judge("t", "bob", "left", 2), judge("u", "ann")]
    strengths = Strengths.count(items, {"ann": (0.5, 1.5, 3.0), "bob": None})
    assert strengths.shares == {1: 0.5, 3: 0.25, 0: 0.25}
    found = [strengths.find_interval(item, 0.8) for item in items]
    assert found[0] == {"lower": 0.5, "upper": 1.5, "chance": 0.4}
    assert found[2:] == [
        {"lower": 3.0, "upper": None, "chance": 0.2},
        {"lower": -0.5, "upper": 0.5, "chance": 0.25},
        {},
        {},
    ]
    # without ties in the model a tie pulls together as before; of ratings and of reviewers nothing is read
    assert Strengths({"ann": (0.0, 1.0, 2.0)}, {}).read(items[3]) is None
    assert strengths.read(replace(items[0], target=0.7)) is None
    assert strengths.read(replace(items[0], judgement=replace(items[0].judgement, adjudicates=True))) is None


def test_pairs_say_how_much_better(tmp_path: Path) -> None:
    words = ["apple", "river", "stone", "cloud", "tiger", "piano", "garden", "winter"]
    items = [judge(f"{word} " * 3, name, "right", 2) for word in words for name in ("ann", "bob", "")]
    people = [Person("ann", (0.0, 1.0, 2.5), guess_left=0.2, careless=0.5), Person("bob")]
    rows = make(tmp_path, items, Check(people))
    assert {(row.annotator, row.lower, row.upper, row.chance) for row in rows} == {
        ("ann", 1.0, 2.5, 0.8),  # all that are known are of this strength, and 0.8 of the careless ones right
        ("bob", 0.0, None, 0.5),
        ("", 0.0, None, 0.5),
    }
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["strengths"] == {"pairs": 8, "thresholds": {"ann": [0.0, 1.0, 2.5]}}
    keys = {frozenset(json.loads(line)) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()}
    assert sorted(len(each) for each in keys) == [12, 15]  # those without a strength are written as ever


def test_without_a_check_strengths_are_not_read(tmp_path: Path) -> None:
    items = [judge(f"{word} " * 3, "ann", "left", 3) for word in ("apple", "river", "stone", "cloud")]
    assert {row.upper for row in make(tmp_path, items, None)} == {None}
    assert "strengths" not in json.loads((tmp_path / "out" / "card.json").read_text())
