"""Does `reward_model.length_debias` find the taste behind people's choices, where they lean to length and where not?

`python bench/length_debias.py [--seeds 10] [--out runs/length]` trains the demo's reward model on judgements of its own
responses by simulated people whose taste is known, with and without the option, and prints for each world: accuracy on
held-out pairs by the taste without length and by the taste with the lean in it, and how far the score goes with length
once the taste is accounted for. Intervals are over seeds (95 %).
"""

import argparse
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from likelier.circle import collect_feedback
from likelier.config import build_config
from likelier.demo import tastes
from likelier.demo.panel import draw_panel
from likelier.demo.run import start_round
from likelier.feedback.store import Store
from likelier.intervals import Floats, mean_interval
from likelier.records import Preference, to_plain_text
from likelier.reward.pairs import BatchPlan
from likelier.reward.train import Member, score_pairs
from likelier.training.setup import schedule, set_learning_rate

SPREAD = 1.5
"""Standard deviation of the taste, in log-odds."""
SETTINGS = {"learning_rate": 1e-3, "num_epochs": 4, "batch_size": 32, "device": "cpu"}


class Judged(NamedTuple):
    """A pair, with what is better about `chosen` in log-odds: by the taste, and by the lean to length."""

    pair: Preference
    taste: float
    lean: float
    ratio: float
    """ln(length of chosen / length of rejected)."""


def like_endings(response: str) -> float:
    """Kind endings and direct speech, which are as likely in short responses."""
    last = tastes.split_sentences(response)[-1]
    return bool(tastes.KINDNESS.search(last)) - bool(tastes.MEANNESS.search(last)) + 0.5 * ('"' in response)


def like_colours(response: str) -> float:
    """Colours and smells, of which longer responses have more."""
    return float(min(4, len(set(tastes.SENSES.findall(response)))))


TASTES = {"endings": like_endings, "colours": like_colours}
LEANS = {
    "no lean": lambda ratio: 0.0,
    "saturating lean": lambda ratio: 2.0 * math.tanh(3.0 * ratio),
    "linear lean": lambda ratio: 2.5 * ratio,
}
CARELESS = "a third picks the longer"


def read_responses(out: Path) -> dict[str, list[str]]:
    """Return the demo's responses by prompt, sampled once into `out`."""
    circle_round = start_round(out, 0, "kind")
    collect_feedback(circle_round, draw_panel(0, "kind").judge)
    with Store.open(circle_round.db) as store:
        prompts = {prompt.id: to_plain_text(prompt.text) for prompt in store.prompts()}
        found: dict[str, list[str]] = {}
        for response in store.responses():
            found.setdefault(prompts[response.prompt_id], []).append(response.text)
    return {prompt: sorted(set(texts)) for prompt, texts in found.items() if len(set(texts)) > 1}


def draw_judged(
    responses: dict[str, list[str]],
    prompts: Sequence[str],
    taste: str,
    lean: str,
    count: int,
    random: np.random.Generator,
) -> list[Judged]:
    """Draw pairs of the prompts, judged by people of this taste and lean."""
    spread = np.std([TASTES[taste](text) for texts in responses.values() for text in texts]) / SPREAD
    found = []
    for prompt in random.choice(prompts, count):
        first, second = random.choice(responses[prompt], 2, replace=False)
        by_taste = (TASTES[taste](first) - TASTES[taste](second)) / spread
        ratio = math.log((1 + len(first)) / (1 + len(second)))
        by_length = 0.0 if lean == CARELESS else LEANS[lean](ratio)
        chance = expit(by_taste + by_length)
        if lean == CARELESS and ratio != 0:
            chance = chance * 2 / 3 + (ratio > 0) / 3
        sign = 1 if random.random() < chance else -1
        chosen, rejected = (first, second)[::sign]
        pair = Preference(str(prompt), str(chosen), str(rejected), conversation=str(prompt))
        found.append(Judged(pair, sign * by_taste, sign * by_length, sign * ratio))
    return found


def train(train_pairs: Sequence[Preference], valid: Sequence[Preference], seed: int, debias: bool) -> Member:
    """Train the demo's reward model as `likelier reward` does."""
    settings = SETTINGS | {"length_debias": debias}
    config = build_config({"model": str(files("likelier.demo") / "model"), "seed": seed, "reward_model": settings})
    member, plan = Member(config, 0), BatchPlan.from_pairs(train_pairs, config.reward_model)
    for step, rows in member.batches_left(plan, 0, seed):
        set_learning_rate(member.state.optimizer, schedule(step, plan.steps, config.reward_model))
        member.update([train_pairs[row] for row in rows])
        if plan.ends_epoch(step):
            member.end_epoch(valid, step + 1)
    member.restore_best()
    return member


def measure(member: Member, judged: Sequence[Judged]) -> list[float]:
    """Return accuracy by taste and by taste with lean, correlation of score and length within pairs, and the
    standardised weight of length beside the taste in a regression of the score."""
    difference = np.subtract(*score_pairs(member.reward.score, [each.pair for each in judged]))
    taste, lean, ratio = (np.array([getattr(each, name) for each in judged]) for name in ("taste", "lean", "ratio"))
    columns = np.stack([column / np.sqrt((column**2).mean()) for column in (taste, ratio)], axis=1)
    scaled = difference / np.sqrt((difference**2).mean())
    weights = np.linalg.lstsq(columns, scaled, rcond=None)[0]
    return [
        rank_accuracy(difference, taste),
        rank_accuracy(difference, taste + lean),
        float((scaled * columns[:, 1]).mean()),
        float(weights[1]),
    ]


def rank_accuracy(difference: Floats, truth: Floats) -> float:
    """Return the share of pairs that are ranked as the truth does, where it ranks them."""
    return float((np.sign(difference) == np.sign(truth))[truth != 0].mean())


def run_seed(
    responses: dict[str, list[str]], taste: str, lean: str, seed: int, num_pairs: int, num_held_out: int
) -> list[list[float]]:
    """Return what `measure` finds without and with the option, on prompts apart from those of training."""
    random = np.random.default_rng([seed, 88])
    prompts = random.permutation(sorted(responses))
    cut = len(prompts) // 4
    parts = {"train": prompts[2 * cut :], "valid": prompts[:cut], "test": prompts[cut : 2 * cut]}
    counts = {"train": num_pairs, "valid": num_pairs // 5, "test": num_held_out}
    judged = {part: draw_judged(responses, parts[part], taste, lean, count, random) for part, count in counts.items()}
    pairs = {part: [each.pair for each in judged[part]] for part in ("train", "valid")}
    return [measure(train(pairs["train"], pairs["valid"], seed, debias), judged["test"]) for debias in (False, True)]


def format_interval(values: Floats) -> str:
    """Return mean and interval over seeds."""
    low, high = mean_interval(values, [str(number) for number in range(len(values))]) or (math.nan, math.nan)
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--tastes", default=",".join(TASTES))
    parser.add_argument("--leans", default=",".join([*LEANS, CARELESS]))
    parser.add_argument("--out", type=Path, default=Path("runs/length"))
    given = parser.parse_args()
    responses = read_responses(given.out)
    print(
        "taste, lean | accuracy by taste | by taste and lean | correlation with length | length beside taste",
        flush=True,
    )
    for lean in given.leans.split(","):
        for taste in given.tastes.split(","):
            found = [run_seed(responses, taste, lean, seed, given.pairs, given.held_out) for seed in range(given.seeds)]
            before, after = np.array(found).transpose(1, 0, 2)
            for name, values in {"off": before, "on": after, "on - off": after - before}.items():
                cells = " | ".join(format_interval(column) for column in values.T)
                print(f"{taste}, {lean}, {name} | {cells}", flush=True)


if __name__ == "__main__":
    main()
