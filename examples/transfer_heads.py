"""Does a head that was learned on one set of people's preferences help on another, on one frozen pretrained trunk?

    python examples/transfer_heads.py DATA MINILM --out runs/transfer-heads

The trunk, such as all-MiniLM-L6-v2, stays as it is: each response is read once, and all that is learned is heads. On
each of four sets a head is learned, and then used on the others as it is, and as the middle of the prior for 20 and
100 comparisons of theirs; beside it heads that know these comparisons, or all of the set's own, alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from preference_sets import NAMES, SHOTS, Sets, draw_some, load_sets, measure_length, spread

from likelier.cli import run_script
from likelier.files import write_json
from likelier.records import Preference
from likelier.reward.head_prior import Gaussian, update
from likelier.text.reward_model import RewardModel, new_reward_model

MAX_LENGTH = 200
HEAD_SPREAD = 2.0
"""Standard deviation of the head's weights around the old ones, as the scores have them, for unit features."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("base", type=Path, help="folder of a trained encoder or language model")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer-heads"))
    parser.add_argument("--most", type=int, default=500, help="comparisons of a set that are used")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--draws", type=int, default=10, help="of the few comparisons of the new set")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sets = load_sets(given.data, given.out, given.sets, given.most, given.seed)
    torch.manual_seed(given.seed)  # of weights that the folder lacks
    model = new_reward_model(given.base, "cpu", MAX_LENGTH, torch.Generator().manual_seed(given.seed))
    found = compare_heads(model, sets, given.draws)
    print("\n".join(map(json.dumps, found)))
    write_json(given.out / "heads.json", found)


def compare_heads(model: RewardModel, sets: Sets, draws: int) -> list[dict[str, Any]]:
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


def feature_differences(model: RewardModel, pairs: Sequence[Preference]) -> np.ndarray:
    """What the head reads of the chosen response minus the same of the rejected one, [pairs, D]."""
    prompts = [pair.prompt for pair in pairs]
    chosen, rejected = (model.features(prompts, [getattr(p, side) for p in pairs]) for side in ("chosen", "rejected"))
    return (chosen - rejected).numpy().astype(float)


if __name__ == "__main__":
    sys.exit(run_script(main))
