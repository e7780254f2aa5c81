"""Real questions with passages, gold answers and people's preferences: what is a reward model worth beside token F1?

    python examples/question_answers.py ../shared/data --base MINILM --seeds 0 1 2 --out runs/questions

`fine-grained-rlhf` has four answers to each of 363 questions, all six pairs judged by people. A third of the questions
is held out. Two reward models learn from the others, from question and answer alone: the folder `--base` (an encoder
such as MiniLM) tuned as a whole, and a head on its frozen features. Each is held against token F1 with the gold answer,
the longer one, and people. `answer_questions.py` takes both scores as rewards.
"""

import argparse
import gzip
import json
import random
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from few_shot import questions as read_chats

from likelier.api.train import train_reward
from likelier.cli import run_script
from likelier.files import write_json, write_jsonl
from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.records import Preference
from likelier.reward.functions import token_f1
from likelier.reward.head_prior import Gaussian, update
from likelier.text.reward_model import load_reward_model, new_reward_model

MAX_LENGTH, HEAD_SPREAD = 160, 3.0
REWARD_MODEL = {"learning_rate": 2e-4, "num_epochs": 2, "batch_size": 16, "max_length": MAX_LENGTH, "bf16": True,
                "save_steps": 10_000, "warmup_ratio": 0.1}  # fmt: skip


class Asked(NamedTuple):
    """A question, its gold answer, four answers, and pairs of these (better, worse)."""

    question: str
    chat: str
    gold: str
    answers: list[str]
    wins: list[tuple[int, int]]


Score = Callable[[Sequence[Asked], Sequence[str]], Floats]
"""Questions and an answer to each to scores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="folder of a trained encoder or language model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="decide which questions are held out")
    parser.add_argument("--out", type=Path, default=Path("runs/questions"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked, found = read_questions(given.data), []
    for seed in given.seeds:
        test, learn = split_questions(asked, seed)
        scores = train_scores(given.base, learn, given.out / str(seed), seed)
        found.append({"seed": seed, "questions": len(test), **compare(scores, test)})
        print(json.dumps(found[-1]), flush=True)
        write_json(given.out / "questions.json", found)


def read_questions(data: Path) -> list[Asked]:
    lines = json.loads(gzip.decompress((data / "fine-grained-rlhf" / "dev_feedback.json.gz").read_bytes()))
    asked = []
    for each, (chat, gold) in zip(lines, read_chats(data), strict=True):
        judged = zip(combinations(range(4), 2), each["preference"], strict=True)
        wins = [pair if choice == 1 else pair[::-1] for pair, choice in judged if choice]
        asked.append(Asked(each["question"], chat, gold, [each[f"prediction {n}"] for n in (1, 2, 3, 4)], wins))
    return asked


def split_questions(asked: list[Asked], seed: int) -> tuple[list[Asked], list[Asked]]:
    """A third that is held out, and the others."""
    order = random.Random(seed).sample(asked, len(asked))
    return order[: len(order) // 3], order[len(order) // 3 :]


def train_scores(base: Path, learn: Sequence[Asked], out: Path, seed: int) -> dict[str, Score]:
    """Everything that scores an answer. A tenth of the questions to learn from decides between epochs."""
    cut = len(learn) // 10
    for name, part in (("valid", learn[:cut]), ("train", learn[cut:])):
        pairs = [
            Preference(each.question, each.answers[better], each.answers[worse], conversation=each.question)
            for each in part
            for better, worse in each.wins
        ]
        write_jsonl(out / "pairs" / f"{name}.jsonl", pairs)
    config = {"model": str(base), "data": str(out / "pairs"), "seed": seed, "reward_model": REWARD_MODEL}
    train_reward(config, out / "reward", resume="auto")
    tuned = load_reward_model(out / "reward" / "model", "cpu", MAX_LENGTH)
    frozen = new_reward_model(base, "cpu", MAX_LENGTH, torch.Generator().manual_seed(0), False)

    def read(asked: Sequence[Asked], said: Sequence[str]) -> Floats:
        return frozen.features([each.question for each in asked], said).numpy().astype(float)

    weights = fit_head(read(*list_answers(learn)).reshape(len(learn), 4, -1), learn)
    return {
        "longer": lambda asked, said: np.array([float(len(each)) for each in said]),
        "token F1": lambda asked, said: np.array(token_f1([""] * len(said), said, [each.gold for each in asked])),
        "reward model": lambda asked, said: tuned.score([each.question for each in asked], said).numpy().astype(float),
        "head alone": lambda asked, said: read(asked, said) @ weights,
    }


def list_answers(asked: Sequence[Asked]) -> tuple[list[Asked], list[str]]:
    """Each question four times, and its four answers."""
    return [each for each in asked for _ in each.answers], [answer for each in asked for answer in each.answers]


def fit_head(rows: Floats, learn: Sequence[Asked]) -> Floats:
    """Likeliest weights of a head under a normal prior, in units of the differences that people judged."""
    wins = np.array([row[b] - row[w] for row, each in zip(rows, learn, strict=True) for b, w in each.wins])
    scale, size = wins.std(axis=0) + 1e-6, wins.shape[1]
    return np.asarray(update(Gaussian(np.zeros(size), np.eye(size) * HEAD_SPREAD**2 / size), wins / scale).mean / scale)


def compare(scores: dict[str, Score], test: Sequence[Asked]) -> dict[str, Any]:
    """Of each score how often people agree with it, and its correlation with F1 over the answers to a question."""
    table = {name: score(*list_answers(test)).reshape(len(test), 4) for name, score in scores.items()}
    inner = {name: standardise(rows) for name, rows in table.items()}
    table["F1 + reward model"] = inner["token F1"] + inner["reward model"]
    groups = [each.question for each in test for _ in each.wins]
    hits = {name: count_hits(rows, test) for name, rows in table.items()}
    found: dict[str, Any] = {"pairs": len(groups)}
    for name, right in hits.items():
        found[name] = {"agrees": right.mean(), "interval": rate_interval(right, groups)}
        found[name]["minus F1"] = mean_interval(right - hits["token F1"], groups)
        if name in inner:
            found[name]["correlation with F1"] = float((inner[name] * inner["token F1"]).mean())
    return found


def count_hits(rows: Floats, test: Sequence[Asked]) -> Floats:
    """1 for each pair whose better answer scores higher, 1/2 where both score the same."""
    both = zip(rows, test, strict=True)
    return np.array([np.sign(row[better] - row[worse]) / 2 + 0.5 for row, each in both for better, worse in each.wins])


def standardise(rows: Floats) -> Floats:
    """Scores less the mean of their question, over the spread within questions."""
    inner = rows - rows.mean(1, keepdims=True)
    return np.asarray(inner / inner.std())


if __name__ == "__main__":
    sys.exit(run_script(main))
