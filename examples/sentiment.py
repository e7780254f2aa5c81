"""Stories that end well: a language model of children's stories, trained by PPO against people's labels of sentiment.

    python examples/sentiment.py ../shared/data ../shared/models/stories260K --seeds 0 1 2 --out runs/sentiment

After Ziegler et al. (2019, arXiv 1909.08593). The reward model learns from one half of SST-2's labels; three judges
that it never meets decide: a model of another architecture on the other half, a bag of words on the other half, and a
list of words. For each seed: reward model, PPO with the judges measured on the way, comparison with the start and with
the best of n. `--reward function` trains against a plain Python function instead. DATA holds `sst2` and `tinystories`.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers.normalizers import Lowercase, Prepend, Sequence

from likelier.cli import run_script
from likelier.config import RewardSource, build_config
from likelier.evaluation.compare import evaluate
from likelier.files import read_jsonl, write_json, write_jsonl
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.intervals import mean_interval
from likelier.records import Preference, Prompt
from likelier.report.page import write_report
from likelier.reward.check import fit_bag_of_words
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import make_scorer
from likelier.reward.train import train_reward
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text import variety
from likelier.text.models import save_model

Labelled = list[tuple[str, bool]]
"""Sentences, and whether people called them positive."""
Found = dict[str, Any]
Source = dict[str, Any]
"""A block of `reward` or `eval.scorer`, as a config has it."""

BASES: dict[str, dict[str, Any]] = {
    "reward": {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
               "num_attention_heads": 4, "max_position_embeddings": 256},
    "judge": {"model_type": "gpt2", "n_embd": 96, "n_layer": 1, "n_head": 4, "n_positions": 256},
}  # fmt: skip
VOCABULARY = 8000
PAIRS_OF_EACH, WORDS_DROPPED = 4, 0.4
"""Each sentence stands in four pairs, every time with two in five of its words left out: little data goes further."""
REWARD_MODEL = {"num_epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "max_length": 256, "save_steps": 10_000}
PPO = {
    "batch_size": 128,
    "total_episodes": 128 * 80,
    "num_ppo_epochs": 2,
    "num_mini_batches": 2,
    "stop_token": None,  # responses of one length: a story cannot please by ending early
    "learning_rate": 2e-4,
    "lr_schedule": "linear",
    "kl_coef": 0.3,
    "kl_target": 10.5,
    "kl_horizon": 2000,
    "critic": "separate",
    "critic_learning_rate": 1e-3,
    "cliprange_value": None,  # scores are far larger than 0.2: a clipped critic would never reach them
    "num_eval_prompts": 128,
    "eval_steps": 3,
    "save_steps": 10_000,
}
NATS = (1.0, 3.0, 6.0, 12.0)
UNSEEN = 160
CAUTION = 0.5
"""Standard deviations of the reward models taken off their mean: what they disagree on is not worth chasing."""
VARIETY = 9.0
"""Weight of each response's part in distinct-2, so that not all stories become the same happy one."""
BEST_OF = [2, 4, 8, 16, 32, 64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/sentiment"))
    parser.add_argument("--length", type=int, default=40, help="tokens in a response")
    parser.add_argument("--reward", choices=("model", "function"), default="model")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as ppo.kl_coef=0.2")
    given = parser.parse_args()
    torch.set_num_threads(1)
    judges = make_judges(given.data, given.out)
    accuracy = judge_accuracy(given.data, judges)
    print(json.dumps({"judges": accuracy}, indent=2), flush=True)
    found = []
    for seed in given.seeds:
        learned = given.reward == "model"
        sources = learned_reward(given.data, given.out, seed) if learned else function_reward(given.out)
        found.append(one_seed(given, seed, sources, judges))
        print(json.dumps(found[-1], indent=2), flush=True)
        result = {"model": given.model.name, "reward": given.reward, "judges": accuracy, "seeds": found}
        write_json(given.out / f"{given.model.name}-{given.reward}.json", result)


def learned_reward(data: Path, out: Path, seed: int) -> list[Source]:
    """What half A taught, twice: reward models, made anew for each seed, and a bag of words."""
    half = halves(data)[0]
    run = train_scorer(half, "reward", data, out / f"reward-{seed}", seed, members=8)
    functions = fit_bag(half, out / "half-a")
    return [
        {"model": str(run), "caution": CAUTION, "name": "reward model", "weight": 1.5},
        {"function": f"{functions}:bag_of_words", "name": "words of half a", "weight": 0.7},
    ]


def function_reward(out: Path) -> list[Source]:
    """A plain Python function."""
    return [{"function": f"{out / 'half-b' / 'judges.py'}:word_list", "name": "word list", "weight": 0.3}]


def read_sst(path: Path) -> Labelled:
    """SST's lines as they stand: tokens parted by blanks, in lower case."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [(text, label == "1") for text, label in (line.rsplit("\t", 1) for line in lines)]


def readable(text: str) -> str:
    """A sentence as a person would write it."""
    text = re.sub(r" (n't|'\w+|[,.;:!?)%])", r"\1", text).replace("( ", "(").replace("`` ", '"').replace(" ''", '"')
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else text + "."


def halves(data: Path) -> tuple[Labelled, Labelled]:
    """Who teaches the reward model, and who teaches the judges: by a hash of the sentence."""
    first, second = [], []
    for text, positive in read_sst(data / "sst2" / "train.tsv.gz"):
        half = second if hashlib.sha256(text.encode()).digest()[-1] % 2 else first
        half.append((readable(text), positive))
    return first, second


def openings(data: Path) -> list[str]:
    """The first sentences of the stories."""
    told = re.split(r"(?<=[.!?\"])\n(?=[^\n])", stories(data))
    firsts = (re.match(r"\s*([^\"]+?[.!?])(?=\s|$)", story.replace("\n", " ")) for story in told)
    return list(dict.fromkeys(found[1] for found in firsts if found and 5 <= len(found[1].split()) <= 22))


def make_judges(data: Path, out: Path) -> list[Source]:
    """The judges of every seed, as `eval.scorer` takes them; the first decides win rates."""
    half = halves(data)[1]
    run = train_scorer(half, "judge", data, out / "judge", 0, members=8)
    functions = fit_bag(half, out / "half-b")
    return [
        {"model": str(run), "name": "other model"},
        {"function": f"{functions}:bag_of_words", "name": "bag of words"},
        {"function": f"{functions}:word_list", "name": "word list"},
    ]


def fit_bag(rows: Labelled, folder: Path) -> Path:
    """Fit the bag of words; the path of the Python file that scores with it."""
    words = fit_bag_of_words(*(labels(part) for part in split(rows)))
    write_json(folder / "words.json", {"vocabulary": words.vocabulary, "weights": words.weights.tolist()})
    return Path(shutil.copy(Path(__file__).with_name("sentiment_judges.py"), folder / "judges.py"))


def stories(data: Path) -> str:
    return gzip.decompress((data / "tinystories" / "tiny_stories_train.txt.gz").read_bytes()).decode()


def split(rows: Labelled) -> tuple[Labelled, Labelled]:
    """Nine tenths to learn from, a tenth to choose the best epoch by."""
    shuffled = random.Random(1).sample(rows, len(rows))
    return shuffled[: len(rows) * 9 // 10], shuffled[len(rows) * 9 // 10 :]


def labels(rows: Labelled) -> list[Preference]:
    """A positive sentence is better than nothing, and nothing is better than a negative one."""
    return [Preference("", text, "") if positive else Preference("", "", text) for text, positive in rows]


def pairs(rows: Labelled, count: int, dropped: float, draw: random.Random) -> list[Preference]:
    """Positive sentences with negative ones, drawn at random, `count` times round; some words of each are left out."""
    good, bad = ([text for text, positive in rows if positive is side] for side in (True, False))
    most = max(len(good), len(bad))
    for side in (good, bad):
        side.extend(draw.choices(side, k=most - len(side)))
    drawn = [both for _ in range(count) for both in zip(draw.sample(good, most), draw.sample(bad, most), strict=True)]
    return [Preference("", thinned(better, dropped, draw), thinned(worse, dropped, draw)) for better, worse in drawn]


def thinned(text: str, dropped: float, draw: random.Random) -> str:
    return " ".join(word for word in text.split(" ") if draw.random() >= dropped) or text


def train_scorer(rows: Labelled, base: str, data: Path, run_folder: Path, seed: int, members: int) -> Path:
    """Reward models from random weights, as `likelier reward` trains them; capitals are not told apart.

    Done already: as it is.
    """
    if (run_folder / "result.json").exists():
        return run_folder
    train, valid = split(rows)
    draw, folder = random.Random(seed), run_folder.with_name(f"{run_folder.name}-data")
    write_jsonl(folder / "train.jsonl", pairs(train, PAIRS_OF_EACH, WORDS_DROPPED, draw))
    write_jsonl(folder / "valid.jsonl", pairs(valid, 2, 0.0, draw))
    tokenizer = new_tokenizer("words", [f" {text}".lower() for text in (*dict(rows), stories(data))], VOCABULARY)
    tokenizer.backend_tokenizer.normalizer = Sequence([Prepend(" "), Lowercase()])
    save_model(folder / "base", new_causal_lm(BASES[base], tokenizer, seed), tokenizer, "Random weights.")
    settings = {"model": str(folder / "base"), "data": str(folder), "seed": seed}
    settings["reward_model"] = REWARD_MODEL | {"ensemble_size": members}
    with Run(run_folder, "reward", build_config(settings), "auto") as run:
        train_reward(run.config, run)
    return run_folder


def judge_accuracy(data: Path, judges: list[Source]) -> dict[str, Any]:
    """Right labels on SST-2's development part, with the 95 % interval; a score of exactly 0 is half right."""
    rows = read_sst(data / "sst2" / "dev-part-a.tsv.gz")
    sources = [RewardSource(**judge) for judge in judges]
    texts = [readable(text) for text, _ in rows]
    scores = make_scorer(sources, "cpu").judge(ResponseBatch([Prompt("")] * len(rows), texts)).unweighted
    sign = torch.tensor([1.0 if positive else -1.0 for _, positive in rows])
    found = {}
    for name, score in scores.items():
        right = ((score.sign() * sign + 1) / 2).double().numpy()
        found[name] = {"accuracy": float(right.mean()), "interval": mean_interval(right, texts)}
    return found


def one_seed(given: argparse.Namespace, seed: int, sources: list[Source], judges: list[Source]) -> Found:
    """Train against the sum of `sources` and variety, then compare with the start on openings that PPO has not seen."""
    out = given.out / f"{given.model.name}-{given.reward}-{seed}"
    unseen = write_openings(given.data, out)
    settings = {
        "model": str(given.model),
        "prompts": str(out / "openings.jsonl"),
        "seed": seed,
        "reward": [*sources, {"function": f"{variety.__file__}:variety", "weight": VARIETY}],
        "ppo": PPO | {"response_length": given.length},
        "eval": {
            "model_a": str(given.model),
            "model_b": str(out / "policy" / "model"),
            "prompts": str(unseen),
            "scorer": judges,
            "selector": sources,
            "best_of": BEST_OF,
            "responses_per_prompt": 4,
            "response_length": given.length,
            "stop_token": None,
        },
    }
    config = build_config(settings, given.set)
    began, cpu = time.monotonic(), time.process_time()
    with Run(out / "policy", "ppo", config, "auto") as run:
        trained = train_ppo(config, run)
    spent = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
    evaluation = evaluate(config, out / "evaluation").to_json()
    write_report([out], out / "report.html")
    return {"seed": seed, **spent, "curve": curve(out, trained["before"], evaluation), "end": ending(evaluation)}


def write_openings(data: Path, out: Path) -> Path:
    """Openings to train on in `openings.jsonl`; the path of the held-out ones."""
    texts = openings(data)
    random.Random(0).shuffle(texts)
    for name, part in (("openings", texts[UNSEEN:]), ("unseen", texts[:UNSEEN])):
        write_jsonl(out / f"{name}.jsonl", ({"prompt": text} for text in part))
    return out / "unseen.jsonl"


def curve(out: Path, before: Found, evaluation: Found) -> Found:
    """Each judge's rise in its standard deviations before training, distinct-2 and length at the KLs of `NATS`, on
    held-out openings; `way` holds every measurement."""
    lines = [before] + [line for _, line in read_jsonl(out / "policy" / "metrics.jsonl") if "eval_kl" in line]
    way = {"kl": [at["eval_kl"] for at in lines]}
    for name, judge in evaluation["judges"].items():
        way[name] = [(at[f"eval/{name}"] - before[f"eval/{name}"]) / judge["std_a"] for at in lines]
    way |= {name: [at[f"eval_{name}"] for at in lines] for name in ("distinct_2", "response_length")}
    return {"nats": NATS, **{name: at_nats(way["kl"], way[name]) for name in way if name != "kl"}, "way": way}


def at_nats(kl: list[float], values: list[float]) -> list[float | None]:
    """What was measured at the KLs of `NATS`, between two neighbouring measurements; None: PPO never went there."""
    reached = np.maximum.accumulate(kl)
    return [float(np.interp(nats, reached, values)) if nats <= reached[-1] else None for nats in NATS]


def ending(evaluation: Found) -> Found:
    """Where PPO ended, and the best of n from the start, by every judge."""
    judges = evaluation["judges"]
    return {
        "kl": evaluation["kl"],
        "rise": {name: judge["in_stds"] for name, judge in judges.items()},
        "interval": {name: judge["in_stds_interval"] for name, judge in judges.items()},
        "win_rate": {name: judge["win_rate"] for name, judge in judges.items()},
        "distinct_2": [evaluation[model]["distinct_2"] for model in "ab"],
        "length": [evaluation[model]["response_length"] for model in "ab"],
        "best_of": [
            {"n": one["n"], "kl_bound": one["kl_bound"]}
            | {name: judge["in_stds"] for name, judge in one["judges"].items()}
            for one in evaluation["best_of"]
        ],
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
