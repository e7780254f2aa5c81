"""People's ratings as the reward of PPO, beside a reward model from as many comparisons: true score by their number.

`python bench/people_reward.py [--seeds 0 1 2 3 4] [--budgets 128 384 1024] [--out runs/people-reward]`. The demo's
model, prompts, tastes and settings of PPO, with 16 steps of 64 responses. One simulated person has the utility 6 times
the hidden taste and logistic noise: a rating from 1 to 7 cuts utility and noise at six equal steps, of two answers the
first is preferred with the probability sigmoid(difference of utilities). Ratings are of PPO's own responses, as many
in each step as in another, the rest scored by the model of ratings; comparisons are of two answers of the start, and
train the demo's reward model. A third arm has both: the reward model from half the budget, and ratings for
the other half. Two more have ratings by eight people in turn, each with thresholds of their own (the first one normal
about the common one, the logarithms of the gaps about theirs with standard deviation 0.5), who are fresh to the end, or
whose noise grows evenly to three times. Variety is rewarded in all. What is done is not done again.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from likelier.candidates import write_candidates
from likelier.config import Config, PPOConfig, build_config
from likelier.demo import tastes
from likelier.demo.run import SETTINGS, draw_taste, start_round
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import read_json, read_jsonl, write_jsonl
from likelier.records import Prompt, Rating, Response
from likelier.reward.train import train_reward
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run

UTILITY, THRESHOLDS = 6.0, (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)
STEPS, BATCH = 16, 64
ARMS = ("ratings", "comparisons", "half of each", "eight people", "eight who tire")
PEOPLE, FATIGUE = 8, 2.0


class Person:
    """A simulated person with a taste."""

    def __init__(self, taste: str, seed: int | str, thresholds: Sequence[float] = THRESHOLDS) -> None:
        self.taste, self.random = tastes.TASTES[taste], random.Random(f"person {seed}")
        self.thresholds = thresholds

    def feel(self, prompt: str, response: str, noise: float = 1.0) -> float:
        """Utility with logistic noise."""
        chance = self.random.random()
        return UTILITY * self.taste(prompt, response) + noise * math.log(chance / (1 - chance))

    def rate(self, prompt: str, response: str, noise: float = 1.0) -> int:
        felt = self.feel(prompt, response, noise)
        return 1 + sum(felt > threshold for threshold in self.thresholds)

    def prefers_first(self, prompt: str, first: str, second: str) -> bool:
        difference = UTILITY * (self.taste(prompt, first) - self.taste(prompt, second))
        return self.random.random() < 1 / (1 + math.exp(-difference))


def draw_people(taste: str, seed: int) -> list[Person]:
    """People with thresholds of their own."""
    drawn, people = random.Random(f"thresholds {seed}"), []
    for number in range(PEOPLE):
        thresholds = [THRESHOLDS[0] + drawn.gauss(0, 1)]
        for _ in THRESHOLDS[1:]:
            thresholds.append(thresholds[-1] + math.exp(drawn.gauss(0, 0.5)))
        people.append(Person(taste, f"{seed} {number}", thresholds))
    return people


class SimulatedPage:
    """A page at which people in turn rate so many responses of each step, and leave."""

    def __init__(self, store: Store, people: Sequence[Person], budget: int, fatigue: float = 0.0) -> None:
        self.store, self.people, self.budget, self.fatigue = store, people, budget, fatigue
        self.left, self.step = 0, 0

    def ask(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
        self.step += 1
        quota = round(self.budget * self.step / STEPS) - round(self.budget * (self.step - 1) / STEPS)
        text_of = {prompt.id: str(prompt.text) for prompt in prompts}
        chosen = self.people[0].random.sample(list(responses), min(quota, len(responses)))
        noise = 1 + self.fatigue * (self.step - 1) / (STEPS - 1)
        rated = [
            (each, number % len(self.people), text_of[each.prompt_id], each.text) for number, each in enumerate(chosen)
        ]
        with self.store.transaction() as writer:
            writer.add_prompts(prompts)
            writer.add_responses(responses)
            writer.add_answers(
                Rating,
                [
                    Rating(
                        each.id,
                        f"p{at}",
                        float(self.people[at].rate(prompt, text, noise)),
                        key=f"{self.step}:{each.id}",
                    )
                    for each, at, prompt, text in rated
                ],
            )
        self.left = len(responses) - len(rated)

    def count_missing(self) -> int:
        return self.left

    def end(self) -> None:
        pass


def configure(folder: Path, seed: int, taste: str, reward: list[dict[str, Any]]) -> Config:
    at = start_round(folder, seed, taste)
    ppo = {**SETTINGS["ppo"], "total_episodes": STEPS * BATCH, "batch_size": BATCH, "eval_steps": None, "anyway": True}
    judge = {"function": f"{tastes.__file__}:{taste}_scores", "name": "true taste"}
    told = {"model": at.model, "prompts": at.config.prompts, "seed": seed, "eval": {"scorer": [judge]}}
    told |= {"reward": [*reward, *SETTINGS["reward"]], "ppo": ppo, "reward_model": SETTINGS["reward_model"]}
    return build_config(told)


def train_on_comparisons(folder: Path, seed: int, taste: str, budget: int) -> dict[str, Any]:
    """A reward model from `budget` comparisons of the start's answers; a tenth of them to choose the epoch by."""
    config, person = configure(folder, seed, taste, []), Person(taste, seed + 1000)
    candidates = folder / "candidates.jsonl"
    if not candidates.exists():
        prompts = list(read_jsonl(Path(config.prompts)))[112:]
        write_jsonl(folder / "train.jsonl", (line for _, line in prompts))
        write_candidates(config.model, folder / "train.jsonl", 4, candidates, response_length=48, seed=seed)
    with Store.open(folder / f"candidates-{budget}.db", create=True) as store:
        import_file(candidates, "likelier", store)
        pairs = random.Random(seed).sample(store.comparisons(), budget)
        prompt_of = {each.id: str(each.text) for each in store.prompts()}
        text_of = {each.id: each.text for each in store.responses()}
    rows = []
    for pair in pairs:
        prompt, first, second = prompt_of[pair.prompt_id], text_of[pair.response_a], text_of[pair.response_b]
        chosen, rejected = (first, second) if person.prefers_first(prompt, first, second) else (second, first)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    data, held = folder / f"pairs-{budget}", max(8, budget // 10)
    for part, some in (("train", rows[held:]), ("valid", rows[:held]), ("test", rows[:held])):
        write_jsonl(data / f"{part}.jsonl", some)
    out = folder / f"reward-{budget}"
    with Run(out, "reward", config.model_copy(update={"data": str(data)}), "auto") as run:
        train_reward(run.config, run)
    return {"model": str(out)}


def run_arm(folder: Path, seed: int, taste: str, arm: str, budget: int) -> dict[str, Any]:
    """True score before and after, and KL."""
    out = folder / f"{arm.replace(' ', '-')}-{budget}"
    if (out / "result.json").exists():
        return dict(read_json(out / "result.json"))
    rated = {"comparisons": 0, "half of each": budget // 2}.get(arm, budget)
    reward = [{"people": str(out) + ".db", "wait_minutes": 0.0}] if rated else []
    if budget > rated:
        reward.append(train_on_comparisons(folder, seed, taste, budget - rated))

    @contextmanager
    def open_page(store: Store, ppo: PPOConfig) -> Iterator[SimulatedPage]:
        if arm.startswith("eight"):
            yield SimulatedPage(store, draw_people(taste, seed), rated, FATIGUE if "tire" in arm else 0.0)
        else:
            yield SimulatedPage(store, [Person(taste, seed)], rated)

    config = configure(folder, seed, taste, reward)
    with Run(out, "ppo", config, "never") as run:
        return train_ppo(config, run, open_page=open_page if rated else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budgets", type=int, nargs="+", default=[128, 384, 1024])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/people-reward"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for seed in given.seeds:
        for budget in given.budgets:
            for arm in given.arms:
                taste = draw_taste(seed)
                result = run_arm(given.out / str(seed), seed, taste, arm, budget)
                found.setdefault((arm, budget), []).append(result)
                before, after = (result[when]["eval/true taste"] for when in ("before", "after"))
                line = {"seed": seed, "taste": taste, "arm": arm, "budget": budget, "before": before, "after": after}
                print(json.dumps(line | {"kl": result["kl"], "seconds": result["seconds"]}), flush=True)
    print("| judgements | arm | true score, by seed | mean (standard deviation) | nats |\n|---|---|---|---|---|")
    for (arm, budget), results in sorted(found.items(), key=lambda entry: entry[0][1]):
        scores, nats = [each["after"]["eval/true taste"] for each in results], [each["kl"] for each in results]
        by_seed = ", ".join(f"{score:.3f}" for score in scores)
        spread = f" ({stdev(scores):.3f})" if len(scores) > 1 else ""
        print(f"| {budget:,} | {arm} | {by_seed} | {mean(scores):.3f}{spread} | {mean(nats):.1f} |")


if __name__ == "__main__":
    main()
