"""The demo's panel: twelve simulated annotators with one hidden taste, three of them with different vices."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likelier.circle import Result
from likelier.demo.tastes import TASTES
from likelier.feedback.simulate import Annotator, Taste, Vice, simulate_judgements
from likelier.feedback.store import Store
from likelier.runs.round import Round

NAMES = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jo", "Kit", "Lou")
VICES: tuple[Vice, ...] = ("random", "left", "right", "longer", "reversed")
COMPARISONS, JUDGES_PER_COMPARISON = 2250, 2
SPAMMER_SHARE = 2.5
"""Spammers judge more, as they do not read: about 680 judgements each, the others 270."""


def leave_out_planted(check: Result) -> Result:
    """Return a check as it was made: `check.json` also names who was planted, for the report, and no stage depends on
    that."""
    return {name: value for name, value in check.items() if name != "planted"}


@dataclass(frozen=True)
class Panel:
    """Annotators and the seed of their judgements."""

    annotators: list[Annotator]
    planted: list[str]
    """Names of the annotators with a vice, sorted."""
    seed: int

    def judge(self, circle_round: Round) -> Result:
        """Add the panel's judgements to the round's database, in the place of people at the annotation page."""
        with Store.open(circle_round.db) as store:
            return self.judge_store(store)

    def judge_copy(self, db: str, target: Path) -> Result:
        """Copy the comparisons to a new database and have this panel judge them."""
        with Store.open(db) as store, Store.open(target, create=True) as copy:
            copy.add_prompts(store.prompts())
            copy.add_responses(store.responses())
            copy.add_comparisons(store.comparisons())
            return self.judge_store(copy)

    def judge_store(self, store: Store) -> Result:
        """Simulate judgements of sampled comparisons and add them to the store."""
        pairs = random.Random(self.seed).sample(store.comparisons(), COMPARISONS)
        judgements = simulate_judgements(
            pairs,
            {prompt.id: prompt for prompt in store.prompts()},
            {response.id: response for response in store.responses()},
            self.annotators,
            np.random.default_rng(self.seed),
            JUDGES_PER_COMPARISON,
        )
        store.add_judgements(judgements)
        return {"judgements": len(judgements), "annotators": len(self.annotators)}


def draw_panel(seed: int, taste: str, honest: bool = False) -> Panel:
    """Draw twelve annotators with a taste for stories, three with vices; `honest` gives the same without vices."""
    return draw_annotators(seed, TASTES[taste], VICES, honest)


def draw_annotators(seed: int, taste: Taste, kinds: Sequence[Vice], honest: bool = False) -> Panel:
    """Draw twelve annotators with one taste, three with vices of these kinds."""
    generator = random.Random(f"panel {seed}")
    vices = dict(zip(generator.sample(NAMES, 3), generator.sample(kinds, 3), strict=True))
    annotators = [
        Annotator(
            id=name,
            taste=taste,
            accuracy=generator.uniform(0.84, 0.94),
            vice=None if honest else vices.get(name),
            share=SPAMMER_SHARE if name in vices else 1.0,
        )
        for name in NAMES
    ]
    return Panel(annotators, sorted(vices), seed)
