"""Sentiment as a response of one token: a language model answers " good" or " bad", and PPO hears only right or wrong.

    python examples/one_token.py ../shared/data/sst2 --out runs/one-token

A small model from random weights is taught to answer with either word, whatever the sentence (SFT). All it knows of
sentiment comes from the reward. Beside it: the commoner label, and logistic regression on words, told every label.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from likelier.candidates import write_candidates
from likelier.cli import run_script
from likelier.config import build_config
from likelier.files import read_jsonl, write_json, write_jsonl
from likelier.finetune.sft import train_sft
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run

WORDS = (" bad", " good")
REWARD = """import json
from pathlib import Path

LABELS = json.loads(Path(__file__).with_name("labels.json").read_text())

def right(prompts, responses):
    return [float(response == LABELS[prompt]) for prompt, response in zip(prompts, responses, strict=True)]
"""
MODEL = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
         "num_attention_heads": 4, "max_position_embeddings": 128}  # fmt: skip
SFT = {"architecture": MODEL, "tokenizer": "words", "vocab_size": 6000, "learning_rate": 2e-3, "batch_size": 64}
PPO = {"total_episodes": 20_480, "batch_size": 256, "response_length": 1, "stop_token": None, "kl_coef": 0.0,
       "learning_rate": 1e-3, "num_ppo_epochs": 2, "num_mini_batches": 4, "critic": "shared", "cliprange_value": None,
       "num_eval_prompts": 32, "save_steps": 10_000}  # fmt: skip


def read_sst(path: Path) -> dict[str, str]:
    """The word that each sentence calls for, by prompt."""
    rows = [line.rsplit("\t", 1) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return {f"{text} =": WORDS[int(label)] for text, label in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.tsv.gz and dev-part-a.tsv.gz of SST-2")
    parser.add_argument("--out", type=Path, default=Path("runs/one-token"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as ppo.lam=0.9")
    given = parser.parse_args()
    train, dev = (read_sst(given.data / name) for name in ("train.tsv.gz", "dev-part-a.tsv.gz"))
    out, draw = given.out, random.Random(given.seed)
    write_jsonl(out / "format.jsonl", [{"prompt": each, "completion": draw.choice(WORDS)} for each in train])
    for name, prompts in (("train", train), ("dev", dev)):
        write_jsonl(out / f"{name}.jsonl", [{"prompt": prompt} for prompt in prompts])
    write_json(out / "labels.json", train)
    (out / "reward.py").write_text(REWARD)
    settings = {"seed": given.seed, "data": str(out / "format.jsonl"), "prompts": str(out / "train.jsonl"),
                "reward": [{"function": f"{out / 'reward.py'}:right"}], "sft": SFT, "ppo": PPO}  # fmt: skip
    accuracy = {}
    for stage, work, start in (("sft", train_sft, ""), ("ppo", train_ppo, str(out / "sft" / "model"))):
        config = build_config(settings | {"model": start}, given.set)
        with Run(out / stage, stage, config) as run:
            work(config, run)
        write_candidates(str(out / stage / "model"), out / "dev.jsonl", 1, out / f"{stage}.jsonl", 1, 0.01)
        said = [(line["prompt"], line["responses"][0]["text"]) for _, line in read_jsonl(out / f"{stage}.jsonl")]
        accuracy[stage] = sum(dev[prompt] == word for prompt, word in said) / len(said)
    told = make_pipeline(CountVectorizer(), LogisticRegression()).fit(list(train), list(train.values()))
    accuracy["bag_of_words"] = told.score(list(dev), list(dev.values()))
    accuracy["commoner_label"] = max(list(dev.values()).count(word) for word in WORDS) / len(dev)
    print(json.dumps({"seed": given.seed, "sentences": len(dev), "accuracy": accuracy}))


if __name__ == "__main__":
    sys.exit(run_script(main))
