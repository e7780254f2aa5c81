"""Sentiment in one word: an instruction-tuned model is told right or wrong (PPO), or the labels (SFT).

    python examples/one_word.py MODEL ../shared/data/sst2 --seeds 0 1 --out runs/one-word

MODEL is a folder of an instruction-tuned model, such as SmolLM2-135M-Instruct. Asked for one word such a model answers
in sentences (graded by the word that they name), so it is first taught the form alone: either word, at random. From
there PPO by `likelier.reward.functions:accuracy` and SFT have the same labels, as often. Beside them: a bag of words
that has the same labels, and the commoner label. Accuracy of the likeliest answer on `dev-part-a`, 95 % intervals.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from likelier.api.train import train_ppo, train_sft
from likelier.candidates import write_candidates
from likelier.cli import run_script
from likelier.files import read_jsonl, write_json, write_jsonl
from likelier.intervals import rate_interval
from likelier.reward.functions import accuracy

Sentence = tuple[str, str]
"""A sentence, and the word it calls for."""
WORDS, ASK, SPARE, SENTENCE = ("bad", "good"), "Is the film good or bad?", 8, 32
REWARD = "likelier.reward.functions:accuracy"
LORA = {"lora_rank": 16, "bf16": True, "save_steps": 10_000}
FORM = LORA | {"learning_rate": 1e-3, "batch_size": 16, "num_epochs": 1}
SFT = LORA | {"learning_rate": 5e-4, "batch_size": 32}
PPO = LORA | {"learning_rate": 5e-4, "batch_size": 64, "num_ppo_epochs": 1, "num_mini_batches": 4, "response_length": 2,
              "kl_coef": 0.0, "critic": "shared", "critic_learning_rate": 1e-3, "cliprange_value": None, "lam": 1.0,
              "num_eval_prompts": SPARE}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="folder with train.tsv.gz and dev-part-a.tsv.gz of SST-2")
    parser.add_argument("--labels", type=int, default=384)
    parser.add_argument("--passes", type=int, default=2, help="times that each label is used")
    parser.add_argument("--form", type=int, default=64, help="examples of the form, with words drawn at random")
    parser.add_argument("--tested", type=int, default=300, help="sentences on which accuracy is measured")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/one-word"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in given.seeds:
        found.append({"seed": seed} | compare(given, given.out / str(seed), seed))
        print(json.dumps(found[-1]), flush=True)
        write_json(given.out / "accuracy.json", found)


def compare(given: argparse.Namespace, out: Path, seed: int) -> dict[str, Any]:
    """Accuracy of each way with its interval; runs in `out` that are done are not done again."""
    train, dev = (read_sst(given.data / name) for name in ("train.tsv.gz", "dev-part-a.tsv.gz"))
    draw = random.Random(seed)
    tested = random.Random(0).sample(dev, given.tested)
    formed, labelled = draw.sample(train, given.form), draw.sample(train, given.labels + SPARE)
    write_told(out / "form.jsonl", [(text, draw.choice(WORDS)) for text, _ in formed])
    write_told(out / "told.jsonl", labelled[SPARE:])
    for name, sentences in (("asked", labelled), ("tested", tested)):
        write_jsonl(out / f"{name}.jsonl", [{"prompt": chat(text), "label": word} for text, word in sentences])
    start = {"seed": seed, "model": str(given.model), "data": str(out / "form.jsonl"), "sft": FORM}
    train_sft(start, out / "form", resume="auto")
    settings = {"seed": seed, "model": str(out / "form" / "model"), "prompts": str(out / "asked.jsonl")}
    sft = {"data": str(out / "told.jsonl"), "sft": SFT | {"num_epochs": given.passes}}
    train_sft(settings | sft, out / "sft", resume="auto")
    ppo = PPO | {"total_episodes": given.labels * given.passes}
    train_ppo(settings | {"ppo": ppo}, out / "ppo", REWARD, resume="auto")
    found = {"start": measure(given.model, out / "start-said.jsonl", tested, SENTENCE)}
    for name in ("form", "ppo", "sft"):
        found[name] = measure(out / name / "model", out / f"{name}-said.jsonl", tested, PPO["response_length"])
    texts, words = zip(*labelled[SPARE:], strict=True)
    told = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, words)
    said = {"bag of words": list(told.predict([text for text, _ in tested])), "good": ["good"] * len(tested)}
    return found | {name: grade(words, tested) for name, words in said.items()}


def read_sst(path: Path) -> list[Sentence]:
    rows = [line.rsplit("\t", 1) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return [(text, WORDS[int(label)]) for text, label in rows]


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": f"{text}\n{ASK}"}]


def write_told(path: Path, sentences: list[Sentence]) -> None:
    """Chats with their answers."""
    answers = [[{"role": "assistant", "content": word}] for _, word in sentences]
    rows = zip(sentences, answers, strict=True)
    write_jsonl(path, [{"prompt": chat(text), "completion": answer} for (text, _), answer in rows])


def measure(model: Path, said: Path, tested: list[Sentence], length: int) -> dict[str, Any]:
    """Let a model answer by its likeliest tokens; in a sentence it may name the right word and not the other."""
    if not said.exists():
        asked = said.with_name("tested.jsonl")
        write_candidates(str(model), asked, 1, said, length, batch_size=16, top_k=1, bf16=True)
    answers = [line["responses"][0]["text"] for _, line in read_jsonl(said)]
    return grade(answers, tested, WORDS if length == SENTENCE else None)


def grade(said: list[str], tested: list[Sentence], named: tuple[str, ...] | None = None) -> dict[str, Any]:
    """`named`: answers are sentences, which name one of these words."""
    right = [float(each or 0) for each in accuracy([""] * len(said), said, [word for _, word in tested], named)]
    return {
        "accuracy": sum(right) / len(right),
        "interval": rate_interval(right, list(map(str, range(len(right))))),
        "says good": said.count("good") / len(said),
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
