"""Do answers that fade with age help where a taste changes, and what do they cost where it stays? Reward models only.

`python bench/fading.py [--seeds 0 1 ...] [--comparisons 150] [--words] --out FILE.jsonl` plays four rounds of the
circle's first half with the demo's model: in each it writes answers anew, and the demo's honest panel judges some of
their pairs. From round 3 on the panel has another taste, or not. After rounds 3 and 4 (of a taste that stays after
round 4) the circle's reward model is trained with each way to weigh the earlier rounds, and measured on pairs of
held-out prompts by the taste of that round. A line a model is added to `--out`; seeds that stand there are not
repeated. At the end: accuracy by arm, and its difference to no fading, paired by seed, with Student's 95 % interval.
`--words` fits a bag of words to the same pairs and weights in place of the reward model: a hundredth of the time, for
many seeds.
"""

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from rounds import judge
from scipy.stats import t as student

from likelier.candidates import write_candidates
from likelier.circle import collect_feedback, make_pairs
from likelier.circle.training import train_reward_model
from likelier.config import Config, RewardSource
from likelier.demo.run import start_round
from likelier.demo.tastes import TASTES
from likelier.files import read_jsonl
from likelier.records import Prompt, read_preferences
from likelier.reward.check import fit_bag_of_words
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import make_scorer
from likelier.runs.round import Round

ROUNDS, CHANGE = 4, 3
"""The taste is another one from round `CHANGE` on."""
NUM_PROMPTS = 100
"""Of each round; four responses to each."""
Score = Callable[[Sequence[tuple[Prompt, str]]], list[float]]
"""Responses with their prompts to scores."""
ARMS: dict[str, dict[str, Any]] = {
    "all": {},
    "half-life 2": {"half_life": 2.0},
    "half-life 1": {"half_life": 1.0},
    "half-life 0.5": {"half_life": 0.5},
    "last": {"learn_from": "last"},
}


def write_test(circle_round: Round, path: Path) -> list[tuple[Prompt, list[str]]]:
    """Return held-out prompts with several responses each of the demo's model."""
    count, length = circle_round.config.circle.responses_per_prompt, circle_round.config.ppo.response_length
    kept_out = circle_round.prompts / "kept_out.jsonl"
    write_candidates(circle_round.model, kept_out, count, path, response_length=length, seed=10_000, device="cpu")
    lines = [line for _, line in read_jsonl(path)]
    return [(Prompt(line["prompt"]), [each["text"] for each in line["responses"]]) for line in lines]


def measure(score: Score, test: list[tuple[Prompt, list[str]]], taste: str) -> float:
    """Return the share of pairs of responses to one prompt that the scores order as the taste does."""
    scores = score([(prompt, text) for prompt, texts in test for text in texts])
    right, start = [], 0
    for prompt, texts in test:
        for one, other in combinations(range(len(texts)), 2):
            truth = TASTES[taste](str(prompt.text), texts[one]) - TASTES[taste](str(prompt.text), texts[other])
            if truth:
                right.append((scores[start + one] > scores[start + other]) == (truth > 0))
        start += len(texts)
    return float(np.mean(right))


def run_rounds(seed: int, changes: bool, comparisons: int, words: bool, folder: Path) -> list[dict[str, Any]]:
    """Play the rounds; returns a record of each reward model."""
    before, after = random.Random(f"fading {seed}").sample(list(TASTES), 2)
    start, test, records = start_round(folder / "start", seed, None), None, []
    circle = start.config.circle.model_copy(update={"num_prompts": NUM_PROMPTS})
    start = replace(start, config=start.config.model_copy(update={"circle": circle}))
    for number in range(1, ROUNDS + 1):
        taste = after if number >= CHANGE or not changes else before
        target = folder / f"round-{number}"
        circle_round = replace(start, folder=target, prompts=target / "prompts", repeats=number - 1)
        results = collect_feedback(
            circle_round, partial(judge, seed=seed + 1000 * number, taste=taste, comparisons=comparisons)
        )
        test = test or write_test(circle_round, folder / "test.jsonl")
        if number < (CHANGE if changes else ROUNDS):
            continue
        for arm, settings in ARMS.items():
            score = train_arm(circle_round, results["check"], settings, words)
            about = {"seed": seed, "changes": changes, "comparisons": comparisons, "round": number, "arm": arm}
            records.append(about | {"tastes": [before, after], "accuracy": measure(score, test, taste)})
    return records


def train_arm(circle_round: Round, checked: dict[str, Any], settings: dict[str, Any], words: bool) -> Score:
    """Learn from the round's pairs with settings of the circle; returns what scores responses."""
    config: Config = circle_round.config
    circle = config.circle.model_copy(update=settings)
    arm = replace(circle_round, config=config.model_copy(update={"circle": circle}))
    for name in ("preferences", "reward"):
        shutil.rmtree(arm.folder / name, ignore_errors=True)
    make_pairs(arm, checked)
    if words:
        train, valid = (read_preferences(arm.folder / "preferences" / f"{part}.jsonl") for part in ("train", "valid"))
        bag = fit_bag_of_words(train, valid)
        return lambda rows: bag.scores([text for _, text in rows]).tolist()
    train_reward_model(arm)
    scorer = make_scorer([RewardSource(model=str(arm.run_folder("reward")))], "cpu")
    return lambda rows: scorer(ResponseBatch(*map(list, zip(*rows, strict=True)))).tolist()


def print_table(records: list[dict[str, Any]]) -> None:
    """Print accuracy by arm, and its difference to no fading."""
    by = {(r["changes"], r["comparisons"], r["round"], r["arm"], r["seed"]): r["accuracy"] for r in records}
    for changes, comparisons, number in sorted({key[:3] for key in by}):
        print("the taste changes" if changes else "the taste stays", f"{comparisons} comparisons, round {number}")
        for arm in ARMS:
            seeds = sorted(key[4] for key in by if key[:4] == (changes, comparisons, number, arm))
            found = np.array([by[changes, comparisons, number, arm, seed] for seed in seeds])
            gain = found - [by[changes, comparisons, number, "all", seed] for seed in seeds]
            half = student.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.nan
            spread = f"{found.mean():.3f} ({found.min():.3f} to {found.max():.3f})"
            print(f"  {arm:14} {spread}  difference {gain.mean():+.3f} ± {half:.3f}  {len(seeds)} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--comparisons", type=int, default=150, help="of each round, each judged by two people")
    parser.add_argument("--words", action="store_true", help="a bag of words in place of the reward model")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    records = [line for _, line in read_jsonl(given.out)] if given.out.is_file() else []
    done = {(record["seed"], record["changes"], record["comparisons"]) for record in records}
    for seed in given.seeds:
        for changes in (True, False):
            if (seed, changes, given.comparisons) in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = run_rounds(seed, changes, given.comparisons, given.words, Path(folder))
            records += found
            with given.out.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in found)
    print_table(records)


if __name__ == "__main__":
    main()
