"""Pipelines from judgements to a policy: Likelier's by default, its parts taken away, and what others do.

A pipeline takes a `Task` (task.py) and returns the folder of a policy, or a function from prompts to responses.
"""

import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from task import Respond, Task, sample

from likelier.config import RewardSource
from likelier.errors import ConfigError
from likelier.feedback.check import check
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.preferences.balance import TasteGroups
from likelier.preferences.make import make_preferences
from likelier.preferences.split import Split
from likelier.records import Comparison, Prompt, read_preferences
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import make_scorer
from likelier.runs.shared import train_stage
from likelier.text.models import load_causal_lm, load_tokenizer

PPO = {
    "total_episodes": 128 * 20, "batch_size": 128, "num_mini_batches": 4, "num_ppo_epochs": 3, "learning_rate": 6e-4,
    "kl_coef": 0.2, "kl_target": 3.5, "kl_horizon": 1280.0, "critic": "shared",
    "critic_learning_rate": 1e-2, "cliprange_value": None,
    "missing_eos_penalty": 1.0, "save_steps": 2, "save_total_limit": 100, "num_eval_prompts": 16, "anyway": True,
    "device": "cpu",
}  # fmt: skip
BEST_OF = 16
"""Responses of which the best is taken: at most 1.8 nats away."""


def choose_at_random(task: Task, per_comparison: int) -> list[Comparison]:
    """Choose comparisons evenly at random."""
    with Store.open(task.db) as store:
        pool = sorted(store.comparisons(), key=lambda pair: pair.id)
    return random.Random(task.seed).sample(pool, task.budget // per_comparison)


def learn(
    task: Task,
    checked: bool = True,
    noise: bool = True,
    taste: str = "all",
    per_comparison: int = 2,
    source: dict[str, Any] | None = None,
    **reward_model: Any,
) -> dict[str, Any]:
    """Ask people, check them, and train a reward model; returns it as a reward source."""
    task.ask(choose_at_random(task, per_comparison), per_comparison)
    with Store.open(task.db) as store:
        findings = check(store.judged(), store.gold_answers()) if checked else None
        groups = findings.tastes.group_of() if findings and findings.tastes else {}
        chosen = TasteGroups(groups, 0 if taste == "majority" and groups else None)
        make_preferences(store, task.folder / "pairs", findings, Split(task.seed), tastes=chosen)
    return train_reward(task, noise, source, **reward_model)


def train_reward(task: Task, noise: bool = True, source: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """Train a reward model on the pairs in the task's folder."""
    settings = {"learning_rate": 1e-3, "batch_size": 32, "device": "cpu", "use_flip": noise, "save_steps": 10_000}
    config = task.config(data=str(task.folder / "pairs"), reward_model=settings | others)
    train_stage("reward", config, task.folder / "reward", "never")
    return {"model": str(task.folder / "reward"), **(source or {})}


def fine_tune(task: Task, reward: dict[str, Any], **ppo: Any) -> Path:
    """Train a policy by PPO."""
    config = task.config(reward=[reward], ppo={**PPO, "response_length": task.length, **ppo})
    train_stage("ppo", config, task.folder / "ppo", "never")
    return task.pick_checkpoint(task.folder / "ppo", "policy.safetensors")


def likelier(task: Task, **settings: Any) -> Path:
    """Check, careless shares in the likelihood, one reward model, PPO: the package's defaults."""
    return fine_tune(task, learn(task, **settings))


def majority_vote(task: Task) -> Path:
    """Three votes on a comparison, the majority taken as the truth; no check, no weights."""
    task.ask(choose_at_random(task, 3), 3)
    write_votes(task)
    return fine_tune(task, train_reward(task, noise=False))


def write_votes(task: Task) -> None:
    """Write the majority's pairs, ties left out, split by prompt."""
    with Store.open(task.db) as store:
        judged = store.judged()
    votes: dict[str, Counter[str]] = {}
    for item in judged:
        votes.setdefault(item.judgement.comparison_id, Counter())[item.judgement.preferred or "tie"] += 1
    rows: dict[str, list[dict[str, Any]]] = {}
    for item in {each.judgement.comparison_id: each for each in judged}.values():
        (winner, most), *others = votes[item.judgement.comparison_id].most_common()
        if winner == "tie" or any(count == most for _, count in others):
            continue
        texts = {item.left.id: item.left.text, item.right.id: item.right.text}
        chosen = texts.pop(winner)
        rows.setdefault(str(item.prompt.text), []).append({"chosen": chosen, "rejected": next(iter(texts.values()))})
    prompts = sorted(rows)
    random.Random(task.seed).shuffle(prompts)
    ends = {"valid": len(prompts) // 10, "test": len(prompts) // 5, "train": len(prompts)}
    start = 0
    for part, end in ends.items():
        pairs = [{"prompt": prompt, **row} for prompt in prompts[start:end] for row in rows[prompt]]
        write_jsonl(task.folder / "pairs" / f"{part}.jsonl", pairs)
        start = end


def dpo_on_raw_pairs(task: Task) -> Path:
    """DPO on every judgement as it is: no check, no reward model."""
    task.ask(choose_at_random(task, 2), 2)
    with Store.open(task.db) as store:
        make_preferences(store, task.folder / "pairs", None, Split(task.seed))
    # About as many steps at every budget as PPO has; the newest checkpoint within the KL counts.
    dpo = {"learning_rate": 5e-4, "num_epochs": max(2, 9600 // task.budget), "batch_size": 32, "beta": 0.05}
    dpo |= {"save_steps": 10, "save_total_limit": 1000, "device": "cpu"}
    train_stage("dpo", task.config(data=str(task.folder / "pairs"), dpo=dpo), task.folder / "dpo", "never")
    return task.pick_checkpoint(task.folder / "dpo", "model.safetensors")


def best_of_n(task: Task) -> Respond:
    """The response that the default reward model likes best, of `BEST_OF` by the start."""
    scorer = make_scorer([RewardSource(**learn(task))], "cpu")
    model, tokenizer = load_causal_lm(task.model), load_tokenizer(task.model)

    def respond(prompts: Sequence[str]) -> list[str]:
        repeated = [text for text in prompts for _ in range(BEST_OF)]
        texts = sample(model, tokenizer, repeated, task.length, task.seed, "best of n")
        scores = scorer(ResponseBatch([Prompt(text) for text in repeated], texts)).view(-1, BEST_OF)
        return [texts[row * BEST_OF + int(best)] for row, best in enumerate(scores.argmax(1))]

    return respond


def trl(task: Task, script: str, python: str) -> Path:
    """TRL on the raw pairs, in an environment of its own: `LIKELIER_TRL` is the path of its Python."""
    if not python:
        raise ConfigError("set LIKELIER_TRL to the path of a Python that has trl")
    task.ask(choose_at_random(task, 2), 2)
    with Store.open(task.db) as store:
        make_preferences(store, task.folder / "pairs", None, Split(task.seed))
    pairs = read_preferences(task.folder / "pairs" / "train.jsonl")
    rows = [{"prompt": str(each.prompt), "chosen": each.chosen, "rejected": each.rejected} for each in pairs]
    write_jsonl(task.folder / "trl.jsonl", rows)
    out = task.folder / "trl"
    command = [python, str(Path(__file__).with_name(script)), str(task.model), str(task.folder / "trl.jsonl"), str(out)]
    subprocess.run([*command, str(task.seed)], check=True)
    return out


PIPELINES = {
    "default": likelier,
    "without the check": partial(likelier, checked=False, noise=False),
    "without careless shares": partial(likelier, noise=False),
    "majority's taste": partial(likelier, taste="majority"),
    "one judgement a comparison": partial(likelier, per_comparison=1),
    "ensemble, minimum": partial(likelier, ensemble="heads", ensemble_size=4, source={"combine": "min"}),
    "majority vote, plain": majority_vote,
    "DPO on raw pairs": dpo_on_raw_pairs,
    "best of 16": best_of_n,
}
