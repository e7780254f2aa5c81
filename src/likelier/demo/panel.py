"""The demo's panel: twelve simulated annotators with one hidden taste, three of whom misbehave in different ways."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likelier.circle import Result, Round
from likelier.demo.tastes import TASTES
from likelier.feedback.simulate import Annotator, Vice, simulate_judgements
from likelier.feedback.store import Store

NAMES = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jo", "Kit", "Lou")
VICES: tuple[Vice, ...] = ("random", "left", "right", "longer", "reversed")
COMPARISONS, JUDGES_PER_COMPARISON = 2250, 2
DILIGENCE_OF_SPAMMERS = 2.5
"""Who does not read judges more: each of the three gives about 680 judgements, the others 270."""


@dataclass(frozen=True)
class Panel:
    """Who judges, and with which seed."""

    annotators: list[Annotator]
    planted: list[str]
    """Those who would misbehave, sorted."""
    seed: int

    def judge(self, at: Round) -> Result:
        """Bring the panel's judgements into the round's database: what people do at the page."""
        with Store.open(at.db) as store:
            return self.judge_store(store)

    def judge_copy(self, db: str, to: Path) -> Result:
        """The same comparisons in a database of their own, judged by this panel."""
        with Store.open(db) as store, Store.open(to, create=True) as copy:
            copy.add_prompts(store.prompts())
            copy.add_responses(store.responses())
            copy.add_comparisons(store.comparisons())
            return self.judge_store(copy)

    def judge_store(self, store: Store) -> Result:
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
    """Twelve annotators; who misbehaves and how is drawn from the seed. `honest`: the same people, all meaning it."""
    draw = random.Random(f"panel {seed}")
    vices = dict(zip(draw.sample(NAMES, 3), draw.sample(VICES, 3), strict=True))
    annotators = [
        Annotator(
            id=name,
            taste=TASTES[taste],
            accuracy=draw.uniform(0.84, 0.94),
            vice=None if honest else vices.get(name),
            share=DILIGENCE_OF_SPAMMERS if name in vices else 1.0,
        )
        for name in NAMES
    ]
    return Panel(annotators, sorted(vices), seed)
