"""A diffusion model fine-tuned by PPO, each denoising step an action: darker digits, or more sevens.

    python examples/pictures.py --reward sevens --out runs/sevens

The model learns scikit-learn's digits from scratch, then PPO follows a function (`ink`: how dark) or a classifier
(`sevens`: log-probability of a seven), a minute each. `before.png` and `after.png` are drawn with the same noise. The
KL is that of the steps, an upper bound on that of the pictures. The other score and a second classifier watch:
`--set ppo.keep_best=other_sevens` keeps the policy that this judge liked best.
"""

import argparse
import json
import sys
from pathlib import Path

from likelier.cli import run_script
from likelier.config import build_config
from likelier.images.chain import sample_trajectories
from likelier.images.diffusion import Diffusion, open_start
from likelier.images.digits import to_ink, write_sheet
from likelier.images.finetune import SETTINGS, Task, check_settings, finetune
from likelier.images.scores import digit_pictures, measure_diversity, measure_ink, train_classifier
from likelier.runs.run import Run
from likelier.training.setup import seeded_generator
from likelier.training.state import load_module

KL_COEF = {"ink": 0.003, "sevens": 0.3}
"""A nat costs this much ink, or this much log-probability."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reward", choices=list(KL_COEF), default="sevens")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as ppo.kl_coef=1")
    given = parser.parse_args()
    settings = {"seed": given.seed, "ppo": SETTINGS | {"kl_coef": KL_COEF[given.reward]}}
    config = build_config(settings, given.set)
    classifier = train_classifier(given.seed)
    scores = {"ink": measure_ink, "sevens": lambda pictures: classifier(pictures)[:, 7]}
    other = train_classifier(given.seed + 1)  # of the same digits: who deceives one need not deceive both
    judges = {name: score for name, score in scores.items() if name != given.reward}
    judges["other_sevens"] = lambda pictures: other(pictures)[:, 7]
    check_settings(config.ppo, judges)
    with Run(given.out, "ppo", config, "auto") as run:
        start = open_start(given.out / "start.safetensors", digit_pictures(), given.seed)
        found = finetune(config, run, Task(start, scores[given.reward], judges))
    policy = Diffusion(start.size)
    load_module(given.out / "model" / "policy.safetensors", policy)
    pictures = []
    for chain in (start, policy):
        generator = seeded_generator(given.seed, 0, "samples")
        pictures.append(sample_trajectories(chain, start, config.ppo.num_eval_prompts, generator).pictures)
    before, after = (measure_diversity(each, classifier) for each in pictures)
    (given.out / "before.png").write_bytes(write_sheet(to_ink(pictures[0][:60]), 20))
    (given.out / "after.png").write_bytes(write_sheet(to_ink(pictures[1][:60]), 20))
    shares = [float((classifier(each).argmax(1) == 7).float().mean()) for each in pictures]
    result = {name: found[name] for name in ("steps", "seconds", "score_before", "score_after", "kl")}
    result |= {"sevens_before": shares[0], "sevens_after": shares[1], "diversity_before": before}
    print(json.dumps({"reward": given.reward, "seed": given.seed, **result, "diversity_after": after}))


if __name__ == "__main__":
    sys.exit(run_script(main))
