"""Does a reward model learned on one set of people's preferences help on another, of which there is little?

    python examples/transfer.py ../shared/data --out runs/transfer [--base MODEL]

Four sets of real comparisons. On each a reward model is trained, and then used on the three others with 0, 20 and 100
comparisons of theirs: as it is, fine-tuned, or with its trunk frozen and the head fitted anew around the old one.
Beside it a model that knows these comparisons alone. Accuracy on comparisons of other conversations; the length
beside it. Without `--base` the models start from random weights; a folder such as MiniLM's is continued.
`transfer_heads.py` learns heads alone on such a folder.
"""

import argparse
import copy
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from human_preferences import SIZES
from preference_sets import NAMES, SHOTS, Sets, draw_some, load_sets, measure_length, spread
from transfer_heads import MAX_LENGTH, score_head

from likelier.cli import run_script
from likelier.config import build_config
from likelier.files import write_json, write_jsonl
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.intervals import rate_interval
from likelier.records import Preference
from likelier.reward.check import compute_hits
from likelier.reward.loss import preference_loss
from likelier.reward.train import score_pairs, train_reward
from likelier.runs.run import Run
from likelier.text.models import save_model
from likelier.text.reward_model import RewardModel, load_reward_model, new_reward_model

SETTINGS = {"max_length": MAX_LENGTH, "save_steps": 1_000_000}
EPOCHS, WORDS = {True: 4, False: 2}, 8000
PASSES, STEP_SIZE = 6, {True: 1e-3, False: 3e-5}
"""Of fine-tuning; the step size of random weights and of a folder's (`EPOCHS`: passes over a source, likewise)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--base", type=Path, help="folder of a trained encoder or language model")
    parser.add_argument("--most", type=int, default=4000, help="comparisons of a set that are used")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--draws", type=int, default=3, help="of the few comparisons of the new set")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sets = load_sets(given.data, given.out, given.sets, given.most, given.seed)
    base, scratch = given.base or make_base(given.out / "base", sets), not given.base
    found: list[dict[str, Any]] = []
    for target, (learn, test) in sets.items():
        found.append({"target": target, "pairs": len(test)} | measure_length(test))
        for shots in SHOTS:
            drawn = draw_some(target, learn, shots, given.draws)
            alone = [fine_tune(start_model(base, scratch, n), each, scratch) for n, each in enumerate(drawn)]
            rates = spread([find_hits(each, test).mean() for each in alone])
            found.append({"target": target, "shots": shots, "alone": rates})
    for source, (learn, _) in sets.items():
        model = train_source(given.out / "trained" / source, base, learn, given)
        for target, (fresh, test) in sets.items():
            if target != source:
                found += transfer(model, source, target, fresh, test, given)
                print(json.dumps(found[-3:]), flush=True)
                write_json(given.out / "transfer.json", found)


def make_base(folder: Path, sets: Sets) -> Path:
    """Random weights, and one tokenizer for the words of all sets."""
    pairs = [pair for learn, _ in sets.values() for pair in learn]
    texts = [text for pair in pairs for text in (str(pair.prompt), pair.chosen, pair.rejected)]
    tokenizer = new_tokenizer("words", texts, WORDS)
    save_model(folder, new_causal_lm({"model_type": "llama"} | SIZES, tokenizer, 0), tokenizer, "Random weights.")
    return folder


def start_model(base: Path, from_scratch: bool, seed: int) -> RewardModel:
    torch.manual_seed(seed)
    return new_reward_model(base, "cpu", MAX_LENGTH, torch.Generator().manual_seed(seed), from_scratch)


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
    return load_reward_model(folder / "run" / "model", "cpu", MAX_LENGTH)


def transfer(
    model: RewardModel, source: str, target: str, fresh: list[Preference], test: list[Preference], given: Any
) -> list[dict[str, Any]]:
    """Accuracy on another set as it is, and with so many comparisons of it: fine-tuned, and the head alone."""
    hits = find_hits(model, test)
    interval = rate_interval(hits, [pair.conversation for pair in test])
    row: dict[str, Any] = {"source": source, "target": target}
    found = [row | {"shots": 0, "as it is": float(hits.mean()), "interval": interval}]
    for shots in SHOTS:
        drawn = draw_some(target, fresh, shots, given.draws)
        tuned = [find_hits(fine_tune(copy.deepcopy(model), each, not given.base), test).mean() for each in drawn]
        heads = [score_head(model, each, test) for each in drawn]
        found.append(row | {"shots": shots, "tuned": spread(tuned), "head": spread(heads)})
    return found


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


def find_hits(model: RewardModel, test: Sequence[Preference]) -> np.ndarray:
    """Return 1 where the model ranks a pair as people do, 0 where not, 1/2 where it has both equal."""
    chosen, rejected = score_pairs(model.score, test)
    return np.asarray(compute_hits(chosen - rejected, test))


if __name__ == "__main__":
    sys.exit(run_script(main))
