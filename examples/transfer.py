"""Does a reward model learned on one set of people's preferences help on another, of which there is little?

    python examples/transfer.py ../shared/data --out runs/transfer [--base MODEL [--frozen]]

Four sets of real comparisons. On each a reward model is trained, and then used on the three others with 0, 20 and 100
comparisons of theirs: as it is, fine-tuned, or with its trunk frozen and the head fitted anew around the old one.
Beside it a model that knows these comparisons alone. Accuracy on comparisons of other conversations; the length
beside it. Without `--base` the models start from random weights; a folder such as MiniLM's is continued, and with
`--frozen` its trunk stays as it is: each response is read once, and all that is learned is heads.
"""

import argparse
import copy
import gzip
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from human_preferences import FILES, SIZES, import_set, short, votes

from likelier.cli import run_script
from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import write_json, write_jsonl
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.intervals import rate_interval, t_interval
from likelier.records import Preference
from likelier.reward.check import compute_hits
from likelier.reward.head_prior import Gaussian, update
from likelier.reward.loss import preference_loss
from likelier.reward.train import score_pairs, train_reward
from likelier.runs.run import Run
from likelier.text.models import save_model
from likelier.text.reward_model import RewardModel, load_reward_model, new_reward_model

SETTINGS = {"max_length": 200, "save_steps": 1_000_000}
EPOCHS = {True: 4, False: 2}
SHOTS, TESTED, WORDS = (20, 100), 400, 8000
PASSES, STEP_SIZE = 6, {True: 1e-3, False: 3e-5}
"""Of fine-tuning; the step size of random weights and of a folder's (`EPOCHS`: passes over a source, likewise)."""
NAMES = (*FILES, "autoj")
HEAD_SPREAD = 2.0
"""Standard deviation of the head's weights around the old ones, as the scores have them, for unit features."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--base", type=Path, help="folder of a trained encoder or language model")
    parser.add_argument("--most", type=int, default=4000, help="comparisons of a set that are used")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--draws", type=int, default=3, help="of the few comparisons of the new set")
    parser.add_argument("--frozen", action="store_true", help="heads on the frozen trunk of --base")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.frozen and not given.base:
        raise ConfigError("--frozen: random weights have learned nothing; give the folder of a trained model as --base")
    torch.set_num_threads(1)
    read = read_sets(given.data, given.out)
    sets = {name: divide(read[name], given.most, given.seed) for name in given.sets}
    if given.frozen:
        found = compare_heads(start_model(given.base, False, given.seed), sets, given.draws)
        print("\n".join(map(json.dumps, found)))
        write_json(given.out / "transfer.json", found)
        return
    base = given.base or make_base(given.out / "base", sets)
    found: list[dict[str, Any]] = []
    for target, (learn, test) in sets.items():
        found.append({"target": target, "pairs": len(test)} | measure_length(test))
        for shots in SHOTS:
            drawn = draw_some(target, learn, shots, given.draws)
            alone = [
                fine_tune(start_model(base, not given.base, n), each, not given.base) for n, each in enumerate(drawn)
            ]
            found.append({"target": target, "shots": shots, "alone": spread([score(each, test) for each in alone])})
    for source, (learn, _) in sets.items():
        model = train_source(given.out / "trained" / source, base, learn, given)
        for target, (fresh, test) in sets.items():
            if target != source:
                found += transfer(model, source, target, fresh, test, given)
                print(json.dumps(found[-3:]), flush=True)
                write_json(given.out / "transfer.json", found)


def read_sets(data: Path, out: Path) -> dict[str, list[Preference]]:
    """The comparisons of each set that have a winner, one a pair of responses."""
    shutil.rmtree(out / "imported", ignore_errors=True)
    sets = {name: votes(import_set(name, data / name, out)) for name in FILES}
    lines = gzip.decompress((data / "autoj-human-pairs" / "testdata_pairwise.jsonl.gz").read_bytes()).decode()
    judged = [json.loads(line) for line in lines.splitlines()]
    sets["autoj"] = [
        Preference(each["prompt"], *order(each), conversation=each["prompt"]) for each in judged if each["label"] != 2
    ]
    return {name: [short(pair) for pair in pairs if pair.target > 0.5] for name, pairs in sets.items()}


def order(judged: dict[str, Any]) -> tuple[str, str]:
    """The better response first."""
    both = judged["response 1"], judged["response 2"]
    return both if judged["label"] == 0 else both[::-1]


def divide(pairs: Sequence[Preference], most: int, seed: int) -> tuple[list[Preference], list[Preference]]:
    """Comparisons to learn from, and others of conversations that are not among them."""
    groups = sorted({pair.conversation for pair in pairs})
    random.Random(seed).shuffle(groups)
    test, kept = [], set[str]()
    for group in groups:
        if len(test) < min(TESTED, len(pairs) // 3):
            test += [pair for pair in pairs if pair.conversation == group]
            kept.add(group)
    learn = [pair for pair in pairs if pair.conversation not in kept]
    draw = random.Random(seed + 1)
    return draw.sample(learn, min(most, len(learn))), draw.sample(test, min(TESTED, len(test)))


def make_base(folder: Path, sets: dict[str, tuple[list[Preference], list[Preference]]]) -> Path:
    """Random weights, and one tokenizer for the words of all sets."""
    texts = [
        text for learn, _ in sets.values() for pair in learn for text in (str(pair.prompt), pair.chosen, pair.rejected)
    ]
    tokenizer = new_tokenizer("words", texts, WORDS)
    save_model(folder, new_causal_lm({"model_type": "llama"} | SIZES, tokenizer, 0), tokenizer, "Random weights.")
    return folder


def start_model(base: Path, from_scratch: bool, seed: int) -> RewardModel:
    torch.manual_seed(seed)
    return new_reward_model(base, "cpu", SETTINGS["max_length"], torch.Generator().manual_seed(seed), from_scratch)


def train_source(folder: Path, base: Path, pairs: list[Preference], given: argparse.Namespace) -> RewardModel:
    """A reward model of a set, in a run of its own; what is done is not done again."""
    cut = len(pairs) * 9 // 10
    for name, part in (("train", pairs[:cut]), ("valid", pairs[cut:])):
        write_jsonl(folder / "pairs" / f"{name}.jsonl", part)
    settings = SETTINGS | {
        "from_scratch": not given.base,
        "learning_rate": 2e-3 if not given.base else STEP_SIZE[False],
        "num_epochs": EPOCHS[not given.base],
    }
    files = {"model": str(base), "data": str(folder / "pairs"), "seed": given.seed, "reward_model": settings}
    if not (folder / "run" / "result.json").is_file():
        with Run(folder / "run", "reward", build_config(files), resume="auto") as run:
            train_reward(build_config(files), run)
    return load_reward_model(folder / "run" / "model", "cpu", SETTINGS["max_length"])


def transfer(
    model: RewardModel, source: str, target: str, fresh: list[Preference], test: list[Preference], given: Any
) -> list[dict[str, Any]]:
    """Accuracy on another set as it is, and with so many comparisons of it: fine-tuned, and the head alone."""
    hits = compute_hits(differences(model, test), test)
    interval = rate_interval(hits, [pair.conversation for pair in test])
    found: list[dict[str, Any]] = [
        {"source": source, "target": target, "shots": 0, "as it is": float(hits.mean()), "interval": interval}
    ]
    for shots in SHOTS:
        drawn = draw_some(target, fresh, shots, given.draws)
        tuned = [score(fine_tune(copy.deepcopy(model), each, not given.base), test) for each in drawn]
        heads = [score_head(model, each, test) for each in drawn]
        found.append(
            {"source": source, "target": target, "shots": shots, "tuned": spread(tuned), "head": spread(heads)}
        )
    return found


def draw_some(target: str, fresh: list[Any], shots: int, draws: int) -> list[list[Any]]:
    """The same few comparisons of a set for every way."""
    return [random.Random(f"{target} {number}").sample(fresh, shots) for number in range(draws)]


def fine_tune(model: RewardModel, pairs: Sequence[Preference], scratch: bool) -> RewardModel:
    """Continue with a few comparisons."""
    optimizer = torch.optim.AdamW(model.parameters(), STEP_SIZE[scratch])
    draw = random.Random(0)
    for _ in range(PASSES):
        shuffled = draw.sample(pairs, len(pairs))
        for start in range(0, len(shuffled), 10):
            part = shuffled[start : start + 10]
            chosen, rejected = (
                model(*model.encode([pair.prompt for pair in part], [getattr(pair, side) for pair in part]))
                for side in ("chosen", "rejected")
            )
            optimizer.zero_grad()
            preference_loss(chosen, rejected).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval()


def score_head(model: RewardModel, pairs: Sequence[Preference], test: Sequence[Preference]) -> float:
    """Accuracy with the head of largest posterior probability, around the old one, on frozen features."""
    old = model.head.weight.detach().numpy()[0].astype(float)
    learned, asked = (feature_differences(model, each) for each in (pairs, test))
    return float((asked @ fit_head(learned, old) > 0).mean())


def fit_head(learned: np.ndarray, old: np.ndarray | None = None) -> np.ndarray:
    """The likeliest head, [D], after comparisons [pairs, D], under a normal prior around the old one, or around 0."""
    scale, size = learned.std(axis=0) + 1e-6, learned.shape[1]
    around = np.zeros(size) if old is None else old * scale
    weights = update(Gaussian(around, np.eye(size) * HEAD_SPREAD**2 / size), learned / scale).mean
    return np.asarray(weights / scale)


def compare_heads(
    model: RewardModel, sets: dict[str, tuple[list[Preference], list[Preference]]], draws: int
) -> list[dict[str, Any]]:
    """Accuracy of heads on one frozen trunk: of a set alone, of another as it is, and that one learned on."""
    read = {name: [feature_differences(model, part) for part in parts] for name, parts in sets.items()}
    heads = {name: fit_head(learn) for name, (learn, _) in read.items()}
    found: list[dict[str, Any]] = []
    for target, (learn, test) in read.items():
        found.append({"target": target, "pairs": len(test)} | measure_length(sets[target][1]))
        found[-1] |= {"learned": len(learn), "all alone": float((test @ heads[target] > 0).mean())}
        for shots in SHOTS:
            rows = draw_some(target, list(range(len(learn))), shots, draws)
            alone = [float((test @ fit_head(learn[each]) > 0).mean()) for each in rows]
            found.append({"target": target, "shots": shots, "alone": spread(alone)})
            for source in sorted(read.keys() - {target}):
                more = [float((test @ fit_head(learn[each], heads[source]) > 0).mean()) for each in rows]
                row = {"source": source, "target": target, "shots": shots, "head": spread(more)}
                found.append(row | {"as it is": float((test @ heads[source] > 0).mean())})
    return found


def feature_differences(model: RewardModel, pairs: Sequence[Preference]) -> np.ndarray:
    """What the head reads of the chosen response minus the same of the rejected one, [pairs, D]."""
    prompts = [pair.prompt for pair in pairs]
    chosen, rejected = (model.features(prompts, [getattr(p, side) for p in pairs]) for side in ("chosen", "rejected"))
    return (chosen - rejected).numpy().astype(float)


def differences(model: RewardModel, pairs: Sequence[Preference]) -> np.ndarray:
    chosen, rejected = score_pairs(model.score, pairs)
    return np.asarray(chosen - rejected)


def score(model: RewardModel, test: Sequence[Preference]) -> float:
    return float(compute_hits(differences(model, test), test).mean())


def measure_length(test: Sequence[Preference]) -> dict[str, float]:
    """Accuracy of the longer one."""
    return {"longer": mean((len(p.chosen) > len(p.rejected)) + 0.5 * (len(p.chosen) == len(p.rejected)) for p in test)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": mean(values), "interval over draws": t_interval(values)}


if __name__ == "__main__":
    sys.exit(run_script(main))
