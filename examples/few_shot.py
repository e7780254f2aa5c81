"""Worked examples in the prompt: what does an instruction-tuned model do with 0, 1, 4 and 8 of them?

    python examples/few_shot.py MODEL DATA --out runs/few-shot

Sentiment (SST-2), two-digit sums, times of day from English into German and French, and questions with a passage
(fine-grained-rlhf): each as a chat whose earlier turns are solved examples. MODEL is a folder of an instruction-tuned
model, such as SmolLM2-135M-Instruct. Likeliest tokens; of the answer the first line counts. Every task is measured on
items that no example is drawn from, with a 95 % interval over items.
"""

import argparse
import gzip
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from likelier.candidates import write_candidates
from likelier.cli import run_script
from likelier.files import read_jsonl, write_json, write_jsonl
from likelier.intervals import mean_interval
from likelier.reward.functions import chrf, exact_match, number_match, token_f1

sys.path.insert(0, str(Path(__file__).parent / "translation"))
from words import write_time

Item = tuple[str, str]
"""What is asked, and the answer."""
SHOTS, MOST_WORDS = (0, 1, 4, 8), 60


def sentiment(data: Path) -> list[Item]:
    lines = gzip.decompress((data / "sst2" / "dev-part-a.tsv.gz").read_bytes()).decode().splitlines()
    rows = [line.rsplit("\t", 1) for line in lines]
    ask = "Is this film review good or bad? Answer with one word.\n\n{}"
    return [(ask.format(text), ("bad", "good")[int(label)]) for text, label in rows]


def sums(data: Path) -> list[Item]:
    draw = random.Random(0)
    drawn = draw.sample([(one, other) for one in range(10, 100) for other in range(10, 100)], 450)
    return [(f"What is {one} + {other}? Answer with the number.", str(one + other)) for one, other in drawn]


def times(data: Path) -> list[Item]:
    names = {"de": "German", "fr": "French"}
    drawn = [(hour, minute, to) for hour in range(1, 13) for minute in range(0, 60, 5) for to in names]
    random.Random(0).shuffle(drawn)
    return [
        (f"Translate into {names[to]}: {write_time('en', hour, minute)}", write_time(to, hour, minute))
        for hour, minute, to in drawn
    ]


def questions(data: Path) -> list[Item]:
    """The passage that holds most of the answer's words, cut: a small model reads no five pages."""
    found = []
    for each in json.loads(gzip.decompress((data / "fine-grained-rlhf" / "dev_feedback.json.gz").read_bytes())):
        wanted = each["gold"]
        texts = [" ".join(" ".join(passage[1:]).split()[:MOST_WORDS]) for passage in each["passages"]] or [""]
        best = max(texts, key=lambda text: len(set(text.lower().split()) & set(wanted.lower().split())))
        found.append((f"{best}\n\nAnswer from this text: {each['question']}", wanted))
    return found


TASKS: dict[str, tuple[Callable[[Path], list[Item]], Any, int]] = {
    "sentiment": (sentiment, exact_match, 4),
    "sums": (sums, number_match, 8),
    "times of day": (times, chrf, 24),
    "questions": (questions, token_f1, 64),
}
"""Items, measure, and tokens of an answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--shots", nargs="+", type=int, default=SHOTS, help="examples in the prompt")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="decides which examples stand in which prompt")
    parser.add_argument("--out", type=Path, default=Path("runs/few-shot"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for task in given.tasks:
        find, measure, length = TASKS[task]
        items = find(given.data)
        random.Random(1).shuffle(items)
        asked, examples = items[: given.items], items[given.items :]
        found[task] = {}
        for shots in given.shots:
            folder = given.out / task.replace(" ", "-") / str(shots)
            said = answer(given.model, folder, asked, examples, (shots, length, given.seed))
            scores = measure([""] * len(said), said, [right for _, right in asked])
            interval = mean_interval(scores, list(map(str, range(len(scores)))))
            found[task][shots] = {"mean": mean(scores), "interval": interval}
            print(f"{task}, {shots} examples: {found[task][shots]}", flush=True)
        write_json(given.out / "few-shot.json", found)


def answer(model: Path, folder: Path, asked: list[Item], examples: list[Item], how: tuple[int, int, int]) -> list[str]:
    """Return the first line of the answer to each question, with so many of the examples before it."""
    shots, length, seed = how
    draw = random.Random(seed)
    chats = []
    for question, _ in asked:
        solved = draw.sample(examples, shots)
        turns = [turn for pair in solved for turn in zip(("user", "assistant"), pair, strict=True)]
        messages = [{"role": role, "content": text} for role, text in [*turns, ("user", question)]]
        chats.append({"prompt": messages})
    write_jsonl(folder / "prompts.jsonl", chats)
    said = folder / "said.jsonl"
    write_candidates(str(model), folder / "prompts.jsonl", 1, said, length, batch_size=16, top_k=1, bf16=True)
    answers = [line["responses"][0]["text"] for _, line in read_jsonl(said)]
    return [text.strip().partition("\n")[0].strip().rstrip(".").lower() for text in answers]


if __name__ == "__main__":
    sys.exit(run_script(main))
