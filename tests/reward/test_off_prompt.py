"""Pairs with answers to other prompts: which are made, what they teach, and whether a score reads the prompt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.records import Preference
from likelier.reward.off_prompt import add_off_prompt_pairs, check_prompt_reading, make_prompt_pairs
from likelier.reward.train import train_reward
from likelier.runs.run import Run
from tiny import save_tiny_model

ANIMALS = ["dog", "cat", "fish"]


def test_a_pair_is_made_with_the_better_answer_to_the_other_prompt():
    pairs = [
        Preference("p", "good p", "bad p", weight=0.5, flip=0.1, annotator="ada", conversation="c", margin=2.0),
        Preference("q", "bad q", "good q", flip=0.9, annotator="rev"),  # who is mostly wrong
        Preference("q", "tie q", "tied q", target=0.5),
    ]
    kept, made = (found := add_off_prompt_pairs(pairs, 1.0, 0))[:3], sorted(found[3:], key=lambda pair: pair.prompt)
    assert kept == pairs
    assert made[0] == Preference("p", "good p", "good q", weight=0.5, flip=0.1, annotator="ada", conversation="c")
    assert (made[1].prompt, made[1].chosen, made[1].rejected) == ("q", "good q", "good p")
    assert made[1].flip == pytest.approx(0.1)
    assert len(made) == 2


def test_as_many_are_made_as_asked_for_and_one_prompt_is_refused():
    pairs = [Preference(f"p{number % 5}", f"good {number}", "bad") for number in range(20)]
    assert add_off_prompt_pairs(pairs, 0.0, 0) == pairs
    assert [len(add_off_prompt_pairs(pairs, share, 0)) for share in (0.5, 1.0, 2.5)] == [30, 40, 70]
    assert add_off_prompt_pairs(pairs, 1.0, 0) == add_off_prompt_pairs(pairs, 1.0, 0)
    assert add_off_prompt_pairs(pairs, 1.0, 0) != add_off_prompt_pairs(pairs, 1.0, 1)
    made = add_off_prompt_pairs(pairs, 2.0, 0)[20:]
    assert sorted(pair.chosen for pair in made) == sorted(2 * [pair.chosen for pair in pairs])
    own = {pair.chosen: pair.prompt for pair in pairs}
    assert all(own[pair.rejected] != pair.prompt for pair in made)
    for useless in ([pairs[0], pairs[0]], [Preference(f"p{number}", "a", "b", target=0.5) for number in range(9)]):
        assert add_off_prompt_pairs(useless, 0.0, 0) == useless
        with pytest.raises(ConfigError, match="off_prompt_pairs: takes .* one prompt, or ties alone; leave it out"):
            add_off_prompt_pairs(useless, 1.0, 0)


def test_a_score_that_reads_the_prompt_is_told_from_one_that_does_not():
    pairs = [Preference(ANIMALS[n % 3], f"{ANIMALS[n % 3]} {n}", "no", conversation=f"{n}") for n in range(40)]

    def check(pairs: list[Preference], reads: bool) -> dict[str, Any]:
        made = make_prompt_pairs(pairs, 0)
        sides = [(pair.prompt in pair.chosen) - (pair.prompt in pair.rejected) for pair in made]
        return check_prompt_reading(np.array(sides, float) * reads, made)

    found = check(pairs, reads=True)
    assert found["off_prompt_accuracy"] == 1.0
    # Of 40 that are all right, Clopper and Pearson's lower bound is 0.025 ** (1 / 40).
    assert found["off_prompt_interval"] == [pytest.approx(0.9119, abs=1e-4), 1.0]
    assert found["prompt_in_words"].endswith("it prefers the first in 100.0% (91.2 to 100.0%).")
    found = check(pairs, reads=False)
    assert found["off_prompt_accuracy"] == 0.5
    assert "nothing shows that it reads the prompt" in found["prompt_in_words"]
    reversed_pairs = [replace(pair, chosen="no", rejected=pair.chosen, target=0.0) for pair in pairs]
    assert check(reversed_pairs, reads=True)["off_prompt_accuracy"] == 1.0


def test_too_few_pairs_ties_and_one_prompt_say_nothing():
    pairs = [Preference(ANIMALS[n % 3], f"{ANIMALS[n % 3]} {n}", "no") for n in range(40)]
    assert len(make_prompt_pairs(pairs[:30], 0)) == 30
    assert make_prompt_pairs(pairs[:29], 0) == []
    ties = [replace(pair, target=0.5) for pair in pairs]  # nobody preferred any of these
    assert make_prompt_pairs([*pairs[:29], *ties], 0) == []
    assert make_prompt_pairs([Preference("p", f"{n}", "no") for n in range(40)], 0) == []


@pytest.mark.slow
def test_a_reward_model_learns_to_read_the_prompt_from_them_alone(tmp_path: Path):
    """Both sides of each judged pair name the prompt's animal; a kind one is better than a cruel one."""
    save_tiny_model(tmp_path / "base", ["kind", "cruel", *ANIMALS])
    random = np.random.default_rng(0)
    for part, count in {"train": 160, "valid": 40, "test": 80}.items():
        animals = random.choice(ANIMALS, count)
        pairs = [
            Preference(f"{animal} ", f"kind {animal}", f"cruel {animal}", conversation=f"{part}-{at}")
            for at, animal in enumerate(animals)
        ]
        write_jsonl(tmp_path / "preferences" / f"{part}.jsonl", pairs)

    def train(per_pair: float) -> dict[str, Any]:
        block = {"learning_rate": 1e-2, "num_epochs": 8, "batch_size": 16, "device": "cpu"}
        config = build_config(
            {
                "model": str(tmp_path / "base"),
                "data": str(tmp_path / "preferences"),
                "reward_model": block | {"off_prompt_pairs": per_pair},
            }
        )
        with Run(tmp_path / f"run-{per_pair}", "reward", config, "never") as run:
            return train_reward(config, run)

    without, taught = train(0.0), train(1.0)
    assert without["accuracy"] == taught["accuracy"] == 1.0
    assert without["off_prompt_accuracy"] < 0.7
    assert taught["off_prompt_accuracy"] > 0.95
    assert taught["steps"] == 2 * without["steps"] == 160
