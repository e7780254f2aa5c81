"""A discriminator trained along with PPO: does it put off over-optimisation?

    python examples/discriminator.py --seeds 0 1 2 --out runs/discriminator

A reward is learned from 200 simulated answers about pictures of a diffusion model (`vae_pictures.py`), and PPO overdoes
it: there is no KL penalty. Then a discriminator's logit, an estimate of log p_real / p_policy, is added: `start` with
pictures of the start as the real ones, so that its mean estimates minus the KL of the pictures; `data` with the digits
themselves. `kl` pays for the KL of the steps instead. Beside it: the same logit on texts of three tokens, whose KL is
known.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from vae_pictures import PPO, learn_from_comparisons, score_taste

from likelier.cli import run_script
from likelier.config import build_config
from likelier.files import read_log
from likelier.images.chain import sample_trajectories
from likelier.images.diffusion import open_start
from likelier.images.discriminator import Discriminator
from likelier.images.finetune import Task, finetune
from likelier.images.scores import digit_pictures
from likelier.runs.curve import read_curve
from likelier.runs.run import Run
from likelier.training.setup import seeded_generator

ANSWERS, STEPS = 200, 48
ARMS = {"free": (0.0, None), "kl": (0.2, None), "start": (0.0, "start"), "data": (0.0, "data")}
"""Price of a nat of the steps, and what the real pictures are; the logit counts `COEF` times, as a nat costs."""
COEF = 0.5
LEVELS = (0.6, 0.7, 0.8)
"""Of the true taste: the KL at which each is first reached."""


def run_arm(name, start, reward, seed, folder):
    """One PPO run; where the taste was best, how it ended, and the KL at which it first reached each level."""
    price, real = ARMS[name]
    pictures = {"start": None, "data": digit_pictures()}.get(real)
    if real == "start":
        pictures = sample_trajectories(start, start, 2000, seeded_generator(seed, 0, "real")).pictures
    discriminator = Discriminator(pictures, seed) if real else None
    shutil.rmtree(folder, ignore_errors=True)
    config = build_config({"seed": seed, "ppo": PPO["diffusion"] | {"kl_coef": price, "total_episodes": 128 * STEPS}})
    with Run(folder, "ppo", config) as run:
        found = finetune(config, run, Task(start, reward, {"true taste": score_taste}, discriminator, COEF))
    curve, watch = (
        read_curve(read_log(folder / "metrics.jsonl"), found["before"]),
        found["overoptimisation"]["true taste"],
    )
    first = {level: next((p.kl for p in curve if p.judges["true taste"] >= level), None) for level in LEVELS}
    logit = read_log(folder / "metrics.jsonl")[-1].get("discriminator/logit")
    about = {name: watch[name] for name in ("start", "best", "best_step", "best_kl", "last")}
    return about | {"kl": found["kl"], "score": found["score_after"], "kl_at": first, "logit": logit}


def compare_with_exact_kl(seed, shift, num_letters=6, length=3, count=4000, steps=1000):
    """Exact KL of two random models of short texts, and minus the mean logit of a discriminator of their samples."""
    generator = seeded_generator(seed, 0, "texts")
    logits = torch.randn(length, num_letters, num_letters, generator=generator)  # next letter, given place and letter
    moved = logits + shift * torch.randn(logits.shape, generator=generator)
    tables = [each.log_softmax(-1) for each in (logits, moved)]
    letters = torch.cartesian_prod(*[torch.arange(num_letters)] * length)
    before = torch.cat([torch.zeros(len(letters), 1, dtype=torch.long), letters[:, :-1]], 1)
    start, policy = (table[torch.arange(length), before, letters].sum(1) for table in tables)
    exact = float((policy.exp() * (policy - start)).sum())
    one_hot = torch.nn.functional.one_hot(letters, num_letters).flatten(1).float()
    real, ours = (one_hot[torch.multinomial(p.exp(), count, True, generator=generator)] for p in (start, policy))
    discriminator = Discriminator(real, seed)
    discriminator.learn(ours, generator, steps)
    # Over the policy's exact distribution, so that nothing but the discriminator is in error.
    return {"exact": exact, "estimate": -float((policy.exp() * discriminator(one_hot)).sum())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/discriminator"))
    given = parser.parse_args()
    for seed in given.seeds:
        texts = [compare_with_exact_kl(seed, shift) for shift in (0.3, 0.7, 1.5)]
        print(json.dumps({"seed": seed, "texts": texts}), flush=True)
        start = open_start(given.out / f"diffusion-{seed}.safetensors", digit_pictures(), seed)
        reward, measured = learn_from_comparisons(start, ANSWERS, seed, given.out / f"pairs-{seed}")
        for name in ARMS:
            found = run_arm(name, start, reward, seed, given.out / f"{name}-{seed}")
            line = {"arm": name, "seed": seed, "reward_accuracy": measured["accuracy"]}
            print(json.dumps(line | found), flush=True)


if __name__ == "__main__":
    sys.exit(run_script(main))
