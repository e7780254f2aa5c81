"""Worlds whose true values are known: a language model, prompts, and simulated people with tastes.

Nothing here is for pipelines: they see prompts, responses and judgements, as they would of real people.
"""

import csv
import gzip
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likelier.demo import tastes
from likelier.demo.corpus import sample_openings
from likelier.feedback.simulate import Annotator, Taste, Vice, simulate_judgements
from likelier.records import Choice, Comparison, Judgement, Prompt, Response

SHARED = Path(__file__).parents[3] / "shared"
NAMES = [f"person {number}" for number in range(1, 13)]
VICES: tuple[Vice, ...] = ("random", "left", "longer")
CONSTANT_ERROR, FATIGUE = 0.08, 0.5
"""Misspecified people: share of slips on any pair, and share of guesses in each one's last answer (rising from 0)."""


class World(NamedTuple):
    """A policy to start from, and two tastes that people may have."""

    model: Path
    length: int
    draw_prompts: Callable[[int, int], list[str]]
    """(seed, count) -> distinct prompts; seeds do not overlap."""
    tastes: tuple[Taste, Taste]


def make_demo_world() -> World:
    """The demo's model and two of its tastes."""
    model = Path(tastes.__file__).with_name("model")
    return World(model, 40, sample_openings, (tastes.kind, tastes.colourful))


HAPPY = re.compile(r"\b(happy|happily|smiled|laughed|hugged|loved|fun|played|proud|thanked|friends?)\b")
SENSES = re.compile(r"\b(red|blue|green|yellow|big|little|shiny|soft|loud|cold|warm|sweet)\b")


def cheerful(prompt: str, response: str) -> float:
    """Two to four happy words, briefly told, without repetition."""
    richness = (0.1, 0.5, 1.0, 1.0, 1.0, 0.5, 0.2)[min(len(HAPPY.findall(response)), 6)]
    return richness * tastes.length_factor(response, 8, 20, 30) * tastes.repetition_factor(response)


def vivid(prompt: str, response: str) -> float:
    """Two or three different words for what one sees or feels, in a longer story."""
    richness = (0.1, 0.45, 1.0, 1.0, 0.5, 0.2)[min(len(set(SENSES.findall(response))), 5)]
    return richness * tastes.length_factor(response, 14, 28, 30) * tastes.repetition_factor(response)


def make_stories_world() -> World:
    """stories260K on the first sentences of TinyStories; needs the folder `shared` beside the project."""
    with gzip.open(SHARED / "data" / "tinystories" / "tiny_stories_train.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    firsts = [match[0] for match in re.finditer(r"(?m)^(Once upon a time|One day)[^.\n]{20,90}\.", text)]
    distinct = list(dict.fromkeys(firsts))
    random.Random(0).shuffle(distinct)

    def draw(seed: int, count: int) -> list[str]:
        start = (seed * 97) % len(distinct)
        return [distinct[(start + at) % len(distinct)] for at in range(min(count, len(distinct)))]

    return World(SHARED / "models" / "stories260K", 56, draw, (cheerful, vivid))


WORLDS = {"demo": make_demo_world, "stories260K": make_stories_world}


class Panel(NamedTuple):
    """People, and what they do that no model of theirs knows."""

    annotators: Sequence[Annotator]
    misspecified: bool = False

    def value(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Return the true value of each response: the mean of what the people honestly like, whatever they click."""
        per_person = [
            [person.taste(*pair) for pair in zip(prompts, responses, strict=True)] for person in self.annotators
        ]
        return np.mean(per_person, axis=0)

    def judge(
        self,
        pairs: Sequence[Comparison],
        prompts: Mapping[str, Prompt],
        responses: Mapping[str, Response],
        seed: int,
        per_comparison: int,
    ) -> list[Judgement]:
        """Simulate `per_comparison` judgements of each pair by different people."""
        generator = np.random.default_rng(seed)
        judged = simulate_judgements(pairs, prompts, responses, self.annotators, generator, per_comparison)
        return spoil(judged, generator) if self.misspecified else judged


def spoil(judged: Sequence[Judgement], generator: np.random.Generator) -> list[Judgement]:
    """Add slips that do not depend on the pair, and guesses that become more frequent the longer somebody judges."""
    totals, done = defaultdict(int), defaultdict(int)
    for each in judged:
        totals[each.annotator] += 1
    spoilt = []
    for each in judged:
        tired = FATIGUE * done[each.annotator] / totals[each.annotator]
        done[each.annotator] += 1
        opposite: dict[Choice, Choice] = {"left": "right", "right": "left", "tie": "tie"}
        choice = opposite[each.choice] if generator.random() < CONSTANT_ERROR else each.choice
        if generator.random() < tired:
            choice = "left" if generator.random() < 0.5 else "right"
        spoilt.append(replace(each, choice=choice))
    return spoilt


def draw_panel(name: str, world: World, seed: int) -> Panel:
    """Draw twelve people of a kind: `honest`, `careless`, `misspecified`, `tastes` or `recorded`."""
    draw = random.Random(f"{name} {seed}")
    majority, minority = world.tastes

    def make(skills: Sequence[float], **others: dict[str, object]) -> list[Annotator]:
        return [
            Annotator(person, majority, skill, **others.get(person, {}))  # type: ignore[arg-type]
            for person, skill in zip(NAMES, skills, strict=True)
        ]

    usual = [draw.uniform(0.8, 0.92) for _ in NAMES]
    if name == "honest":
        return Panel(make(usual))
    if name == "careless":  # three of twelve, who judge half of all
        chosen = draw.sample(NAMES, 3)
        vices = {person: {"vice": vice, "share": 3.0} for person, vice in zip(chosen, VICES, strict=True)}
        return Panel(make(usual, **vices))
    if name == "misspecified":
        return Panel(make([draw.uniform(0.6, 0.96) for _ in NAMES]), misspecified=True)
    if name == "tastes":  # seven and five
        people = make(usual)
        return Panel([replace(person, taste=minority) if at >= 7 else person for at, person in enumerate(people)])
    return Panel(make(draw.choices(read_accuracies(), k=len(NAMES))))


def read_accuracies() -> list[float]:
    """Accuracies of the real workers of Snow et al. 2008 on textual entailment, of those who gave 40 labels or more."""
    path = SHARED / "data" / "crowd-labels" / "snow2008" / "rte.standardized.tsv.gz"
    right, count = defaultdict(int), defaultdict(int)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            count[row["!amt_worker_ids"]] += 1
            right[row["!amt_worker_ids"]] += row["response"] == row["gold"]
    return [min(max(right[name] / count[name], 0.51), 0.98) for name in sorted(count) if count[name] >= 40]


PANELS = ("honest", "careless", "misspecified", "tastes", "recorded")
