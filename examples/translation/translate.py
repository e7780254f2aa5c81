"""A translator taught word by word, and what PPO makes of it by chrF, by exact match, and by people's rankings.

    python examples/translation/translate.py --seeds 0 1 2 --out runs/translation

A model of 0.6 million parameters from random weights learns from the teachers of words.py, half of whose translations
are word by word. From there: PPO on other pairs with chrF, or exact match, of the reference as reward; PPO on a reward
model that has learned from simulated people who ranked four translations each; SFT on the references of these pairs.
Measured on 500 pairs that no arm has seen: share of exact translations and mean chrF, drawn from the model as it is
(temperature 1) and the likeliest word at each step.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from words import write_pairs

from likelier.api.train import train_ppo, train_reward, train_sft
from likelier.candidates import write_candidates
from likelier.cli import run_script
from likelier.feedback.derived import AllAnswers
from likelier.feedback.store import Store
from likelier.files import read_jsonl, write_json
from likelier.preferences.make import make_preferences
from likelier.records import Prompt, Ranking, Response, order_by_rank
from likelier.reward.functions import chrf, exact_match

MODEL = {"model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
         "num_attention_heads": 4, "max_position_embeddings": 128}  # fmt: skip
SFT = {"architecture": MODEL, "tokenizer": "bpe", "vocab_size": 600, "learning_rate": 2e-3, "lr_schedule": "cosine",
       "warmup_ratio": 0.05, "batch_size": 64, "num_epochs": 1000, "save_steps": 10_000}  # fmt: skip
TOLD = {"learning_rate": 1e-3, "batch_size": 64, "num_epochs": 5, "save_steps": 10_000}
REWARD_MODEL = {"num_epochs": 4, "learning_rate": 1e-3, "batch_size": 32, "save_steps": 10_000}
PPO: dict[str, Any] = {"batch_size": 256, "num_ppo_epochs": 2, "num_mini_batches": 4, "learning_rate": 3e-4,
       "warmup_ratio": 0.1, "kl_coef": 0.01, "critic": "shared", "critic_learning_rate": 1e-3, "cliprange_value": None,
       "save_steps": 10_000}  # fmt: skip
LEARNED = PPO | {"kl_coef": 0.3}
"""Of a learned score a unit is a tenth of chrF, and it is wrong where the start never goes: stay nearer."""
TAUGHT, ASKED, UNSEEN = 6000, 3000, 500
SFT_STEPS, PPO_STEPS, LENGTH = 1500, 60, 48
RANKED, SHOWN, NOISE = 2000, 4, 0.1
"""Prompts with a ranking of so many translations, by chrF with Gumbel noise of this scale: by Plackett and Luce."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/translation"))
    parser.add_argument("--short", type=int, default=1, help="divide all steps and responses by this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in given.seeds:
        found.append({"seed": seed} | compare(given.out / str(seed), seed, given.short))
        print(json.dumps(found[-1]), flush=True)
        write_json(given.out / "translation.json", found)


def compare(out: Path, seed: int, short: int) -> dict[str, dict[str, float]]:
    """Measure the start and each arm, by name; runs in `out` that are done are not done again."""
    write_pairs(out, seed, TAUGHT, ASKED, UNSEEN)
    settings = {"seed": seed, "prompts": str(out / "asked.jsonl")}
    block = SFT | {"max_steps": max(1, SFT_STEPS // short)}
    train_sft(settings | {"data": str(out / "taught.jsonl"), "sft": block}, out / "start", resume="auto")
    settings |= {"model": str(out / "start" / "model")}
    episodes = PPO["batch_size"] * max(1, PPO_STEPS // short)
    size = {"response_length": LENGTH, "total_episodes": episodes, "num_eval_prompts": 32}
    told = settings | {"data": str(out / "told.jsonl"), "sft": TOLD}
    train_sft(told, out / "sft", resume="auto")
    learned = learn_from_rankings(settings, out, seed, RANKED // short)
    functions = "likelier.reward.functions"
    sources = {
        "ppo, chrF": f"{functions}:chrf",
        "ppo, exact match": f"{functions}:exact_match",
        "ppo, rankings": {"model": str(learned)},
    }
    for name, source in sources.items():
        block = LEARNED if source is sources["ppo, rankings"] else PPO
        train_ppo(settings | {"ppo": block | size}, out / name, source, resume="auto")
    return {name: measure(out, name, short) for name in ("start", "sft", *sources)}


def learn_from_rankings(settings: dict[str, object], out: Path, seed: int, count: int) -> Path:
    """Let a simulated person rank translations by the start, and train a reward model; returns its run."""
    asked, shown, draw = out / "ranked.jsonl", out / "translations.jsonl", np.random.default_rng(seed)
    lines = [line for _, line in read_jsonl(out / "asked.jsonl")][:count]
    asked.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    write_candidates(str(settings["model"]), asked, SHOWN, shown, LENGTH, seed=seed)
    (out / "rankings.db").unlink(missing_ok=True)
    with Store.open(out / "rankings.db", create=True) as store:
        for line, (_, sampled) in zip(lines, read_jsonl(shown), strict=True):
            prompt = Prompt(line["prompt"])
            texts = list(dict.fromkeys(each["text"] for each in sampled["responses"]))
            if len(texts) > 1:
                responses = [Response(prompt.id, text) for text in texts]
                store.add_prompts([prompt])
                store.add_responses(responses)
                store.add_answer(rank(prompt, responses, line["reference"], draw))
        make_preferences(AllAnswers(store), out / "pairs", None)
    train_reward(settings | {"data": str(out / "pairs"), "reward_model": REWARD_MODEL}, out / "reward", resume="auto")
    return out / "reward"


def rank(prompt: Prompt, responses: Sequence[Response], reference: str, draw: np.random.Generator) -> Ranking:
    """Order translations as somebody would who sees how near they are to the reference, with slips."""
    near = np.array(chrf([""] * len(responses), [each.text for each in responses], [reference] * len(responses)))
    places = np.argsort(np.argsort(-(near + NOISE * draw.gumbel(size=len(near))))).tolist()
    shown = [each.id for each in responses]
    return Ranking(prompt.id, "somebody", order_by_rank(shown, places), tuple(shown), simulated=True)


def measure(out: Path, name: str, short: int) -> dict[str, float]:
    """Share of exact translations and mean chrF of the unseen pairs, sampled and by the likeliest tokens."""
    lines = [line for _, line in read_jsonl(out / "unseen.jsonl")]
    references, found = [line["reference"] for line in lines], {}
    for how, top_k in (("", None), (", likeliest", 1)):
        write_candidates(str(out / name / "model"), out / "unseen.jsonl", 1, out / "said.jsonl", LENGTH, top_k=top_k)
        said = [line["responses"][0]["text"] for _, line in read_jsonl(out / "said.jsonl")]
        found[f"exact{how}"] = mean(exact_match([""] * len(said), said, references))
        found[f"chrF{how}"] = mean(chrf([""] * len(said), said, references))
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
