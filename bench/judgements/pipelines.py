"""Pipelines from judgements to a policy: Likelier's by default, its parts taken away, and what others do.

A pipeline takes a `Task` (task.py) and returns a reward source, of which each optimiser makes a policy; or a policy:
its folder, or a function from prompts to responses.
"""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from task import Respond, Task, sample

from likelier.asking.pool import Pool
from likelier.asking.reward_run import LoadedRun
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
    "missing_eos_penalty": 1.0, "save_steps": 1, "save_total_limit": 100, "num_eval_prompts": 16, "anyway": True,
    "device": "cpu",
}  # fmt: skip
BEST_OF = 16
"""Responses of which the best is taken: at most 1.8 nats away."""
ROUNDS, ASKED_AT_RANDOM = 4, 0.2
"""Rounds of asking by a strategy, the first of them at random; share asked at random in each later one."""


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
    """Ask people, check them, and train a reward model: by default as the package does."""
    task.ask(choose_at_random(task, per_comparison), per_comparison)
    write_pairs(task, checked, taste)
    return train_reward(task, noise, source, **reward_model)


def write_pairs(task: Task, checked: bool = True, taste: str = "all") -> None:
    """Write the judgements as pairs into the task's folder, anew if there are some."""
    shutil.rmtree(task.folder / "pairs", ignore_errors=True)
    with Store.open(task.db) as store:
        findings = check(store.judged(), store.gold_answers()) if checked else None
        groups = findings.tastes.group_of() if findings and findings.tastes else {}
        chosen = TasteGroups(groups, 0 if taste == "majority" and groups else None)
        make_preferences(store, task.folder / "pairs", findings, Split(task.seed), tastes=chosen)


def learn_by_asking(task: Task, strategy: str) -> dict[str, Any]:
    """Let a strategy choose what is asked, in rounds, and go on as by default."""
    per_round = task.budget // 2 // ROUNDS
    task.ask(choose_at_random(task, 2)[:per_round], 2)
    for _ in range(1, ROUNDS):
        run = None
        if strategy == "d_optimality":
            write_pairs(task)
            run = LoadedRun(train_reward(task)["model"])
        pool = read_pool(task)
        some = pool.list_open()[: round(ASKED_AT_RANDOM * per_round)]
        chosen = [each for each in pool.choose(strategy, per_round, run) if each not in some]
        with Store.open(task.db) as store:
            by_id = {pair.id: pair for pair in store.comparisons()}
        task.ask([by_id[each] for each in [*some, *chosen][:per_round]], 2)
    write_pairs(task)
    return train_reward(task)


def read_pool(task: Task) -> Pool:
    """Return the comparisons and answers so far as strategies see them."""
    pool = Pool()
    with Store.open(task.db) as store:
        prompts = {prompt.id: prompt.text for prompt in store.prompts()}
        responses = [(each.id, prompts[each.prompt_id], each.text) for each in store.responses()]
        pairs = [(pair.id, pair.response_a, pair.response_b) for pair in store.comparisons()]
        judged = [each.judgement for each in store.judged()]
    answers = [(each.annotator, each.comparison_id, each.preferred) for each in judged]
    pool.add({"responses": responses, "comparisons": sorted(pairs), "answers": answers})
    return pool


def train_reward(task: Task, noise: bool = True, source: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """Train a reward model on the pairs in the task's folder."""
    settings = {"learning_rate": 1e-3, "batch_size": 32, "device": "cpu", "use_flip": noise, "save_steps": 10_000}
    config = task.config(data=str(task.folder / "pairs"), reward_model=settings | others)
    out = task.folder / f"reward-{task.spent}"
    train_stage("reward", config, out, "never")
    return {"model": str(out), **(source or {})}


def fine_tune(task: Task, reward: dict[str, Any], **ppo: Any) -> Path:
    """Train a policy by PPO."""
    config = task.config(reward=[reward], ppo={**PPO, "response_length": task.length, **ppo})
    train_stage("ppo", config, task.folder / "ppo", "never")
    return task.pick_checkpoint(task.folder / "ppo", "policy.safetensors")


def choose_best(task: Task, reward: dict[str, Any]) -> Respond:
    """Take the response with the highest reward of `BEST_OF` that the start writes: equally far for every reward."""
    scorer = make_scorer([RewardSource(**reward)], "cpu")

    def respond(prompts: Sequence[str]) -> list[str]:
        repeated = tuple(text for text in prompts for _ in range(BEST_OF))
        texts = sample_start(task.model, repeated, task.length, task.seed)
        scores = scorer(ResponseBatch([Prompt(text) for text in repeated], texts)).view(-1, BEST_OF)
        return [texts[row * BEST_OF + int(best)] for row, best in enumerate(scores.argmax(1))]

    return respond


@lru_cache(maxsize=1)
def sample_start(folder: Path, prompts: tuple[str, ...], length: int, seed: int) -> list[str]:
    """Sample responses of the start, once for all pipelines of a seed."""
    return sample(load_causal_lm(folder), load_tokenizer(folder), prompts, length, seed, "best of n")


def majority_vote(task: Task) -> dict[str, Any]:
    """Three votes on a comparison, the majority taken as the truth; no check, no weights."""
    task.ask(choose_at_random(task, 3), 3)
    write_votes(task)
    return train_reward(task, noise=False)


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
    write_pairs(task, checked=False)
    dpo = {"learning_rate": 5e-4, "num_epochs": count_epochs(task), "batch_size": 32, "beta": 0.05}
    dpo |= {"save_steps": 10, "save_total_limit": 1000, "device": "cpu"}
    train_stage("dpo", task.config(data=str(task.folder / "pairs"), dpo=dpo), task.folder / "dpo", "never")
    return task.pick_checkpoint(task.folder / "dpo", "model.safetensors")


def count_epochs(task: Task) -> int:
    """Epochs of DPO: about as many steps at every budget as PPO has; the newest checkpoint within the KL counts."""
    return max(2, 9600 // task.budget)


def trl(task: Task, script: str, python: str) -> Path:
    """TRL on the raw pairs, in an environment of its own: `LIKELIER_TRL` is the path of its Python."""
    if not python:
        raise ConfigError("set LIKELIER_TRL to the path of a Python that has trl")
    task.ask(choose_at_random(task, 2), 2)
    write_pairs(task, checked=False)
    pairs = read_preferences(task.folder / "pairs" / "train.jsonl")
    rows = [{"prompt": str(each.prompt), "chosen": each.chosen, "rejected": each.rejected} for each in pairs]
    write_jsonl(task.folder / "trl.jsonl", rows)
    out = task.folder / "trl"
    command = [python, str(Path(__file__).with_name(script)), str(task.model), str(task.folder / "trl.jsonl"), str(out)]
    subprocess.run([*command, str(task.seed), str(count_epochs(task))], check=True)
    return task.pick_checkpoint(out, "model.safetensors")


OPTIMISERS = {"PPO": fine_tune, "best of 16": choose_best}
PIPELINES = {
    "default": learn,
    "without the check": partial(learn, checked=False, noise=False),
    "without careless shares": partial(learn, noise=False),
    "majority's taste": partial(learn, taste="majority"),
    "one judgement a comparison": partial(learn, per_comparison=1),
    "ensemble, minimum": partial(learn, ensemble="heads", ensemble_size=4, source={"combine": "min"}),
    "asking by entropy": partial(learn_by_asking, strategy="entropy"),
    "asking by D-optimality": partial(learn_by_asking, strategy="d_optimality"),
    "majority vote, plain": majority_vote,
    "DPO on raw pairs": dpo_on_raw_pairs,
}
