"""The scale of a reward learned from preferences, where the truth is known: 1 for honest and dishonest people alike.

Utilities are drawn with a standard deviation of 1.5, and honest people answer by Bradley-Terry's model in their unit.
The reward is the true utility times a factor, which is fitted with the shipped loss to the pairs that the commands
make; a factor of 1 is right, and so is then the price of a nat of KL.
"""

import json
import math
import random
from pathlib import Path

import pytest
import torch

from likelier.cli import main
from likelier.files import write_jsonl
from likelier.records import read_preferences
from likelier.reward.loss import preference_loss

SPREAD = 1.5


def answer_honestly(chance: random.Random, difference: float) -> bool:
    """True for the first response, with the probability sigmoid(difference)."""
    return chance.random() < 1 / (1 + math.exp(-difference))


def answer_by_coin(chance: random.Random, difference: float) -> bool:
    return chance.random() < 0.5


def answer_reversed(chance: random.Random, difference: float) -> bool:
    return not answer_honestly(chance, difference)


def write_judgements(path: Path, people: list, pairs: int, per_pair: int, seed: int) -> dict[str, float]:
    """Judgements in the native format, on random sides; returns the utility of each response text."""
    chance = random.Random(seed)
    utilities: dict[str, float] = {}
    lines = []
    for pair in range(pairs):
        texts = [f"response {pair} {side}" for side in "ab"]
        for text in texts:
            utilities[text] = chance.gauss(0, SPREAD)
        for name in chance.sample(range(len(people)), per_pair):
            left, right = chance.sample(texts, 2)
            picks_left = people[name](chance, utilities[left] - utilities[right])
            lines.append(
                {
                    "prompt": f"{pair * 7919} {'abcdefghij'[pair % 10] * 5} {pair}",
                    "left": left,
                    "right": right,
                    "choice": "left" if picks_left else "right",
                    "annotator": f"person {name}",
                }
            )
    write_jsonl(path, lines)
    return utilities


def fit_scale(folder: Path, utilities: dict[str, float]) -> float:
    """The factor on the true utilities under which the pairs of a folder are likeliest."""
    pairs = [pair for part in ("train", "valid", "test") for pair in read_preferences(folder / f"{part}.jsonl")]
    chosen, rejected = (
        torch.tensor([utilities[text] for text in texts], dtype=torch.float64)
        for texts in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    columns = {
        name: torch.tensor([getattr(pair, name) for pair in pairs], dtype=torch.float64)
        for name in ("weight", "target", "flip")
    }
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = preference_loss(scale * chosen, scale * rejected, **columns)
        value.backward()
        return value

    optimizer.step(loss)
    return scale.item()


@pytest.mark.parametrize(
    ("people", "flagged"),
    [
        ([answer_honestly] * 10, 0),
        ([answer_honestly] * 7 + [answer_by_coin] * 3, 3),
        ([answer_honestly] * 9 + [answer_reversed], 1),
    ],
    ids=["honest", "coins", "reversed"],
)
def test_the_scale_of_the_reward_is_right(tmp_path: Path, people, flagged) -> None:
    """Error rates in the likelihood gave 2.6 for honest people: their mistakes on close pairs were counted twice."""
    utilities = write_judgements(tmp_path / "all.jsonl", people, pairs=600, per_pair=3, seed=5)
    db = str(tmp_path / "feedback.db")
    assert main(["data", "import", str(tmp_path / "all.jsonl"), "--format", "likelier", "--db", db]) == 0
    assert main(["preferences", "--db", db, "-o", str(tmp_path / "pairs")]) == 0
    card = json.loads((tmp_path / "pairs" / "card.json").read_text())
    assert sum(bool(person["flags"]) for person in card["annotators"]) == flagged
    assert fit_scale(tmp_path / "pairs", utilities) == pytest.approx(1.0, abs=0.15)
