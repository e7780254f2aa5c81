"""Two action spaces for the same pictures: a diffusion model's denoising steps, or a VAE's latent space.

    python examples/vae_pictures.py --seeds 0 1 2 --out runs/vae

Both learn scikit-learn's digits. Simulated people with the demo's taste `bold` compare pairs of each model's own
pictures, a reward is learned from 50, 200 or 800 answers, and PPO follows it at the same price of a nat. Which comes
further with fewer answers?
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from likelier.cli import run_script
from likelier.config import build_config
from likelier.demo.picture_tastes import bold
from likelier.files import write_jsonl
from likelier.images.chain import sample_trajectories
from likelier.images.diffusion import open_start
from likelier.images.digits import to_ink
from likelier.images.finetune import SETTINGS, Task, finetune
from likelier.images.reward_model import PictureStore, train_picture_reward
from likelier.images.scores import digit_pictures, measure_diversity, train_classifier
from likelier.records import Preference
from likelier.runs.run import Run
from likelier.training.setup import seeded_generator

NUM_LATENTS, NUM_HELD_OUT, SHARPNESS = 8, 200, 10.0
"""`SHARPNESS`: log-odds of the better answer for a difference of 1 in taste; right in about five of six pairs."""
SHORT = SETTINGS | {"batch_size": 128, "total_episodes": 128 * 24, "num_eval_prompts": 300, "eval_steps": 4}
PPO = {
    "diffusion": SHORT | {"kl_coef": 0.2, "learning_rate": 2e-4},
    "vae": SHORT | {"kl_coef": 0.2, "total_episodes": 128 * 96, "eval_steps": 16, "learning_rate": 1e-3},
}
BLACK_SPREAD = 0.3
"""Standard deviation of a pixel around what the decoder says, from -1 to 1."""


class VAE(nn.Module):
    """A variational autoencoder whose latent vector one Gaussian step draws: z = a x + m(x) + a e, with a^2 = 1/2.

    x and e are standard normal, so that z is too while m, which PPO trains, is 0.
    """

    def __init__(self, width=256):
        super().__init__()
        self.size = NUM_LATENTS
        self.register_buffer("deviations", torch.tensor([0.5**0.5]), persistent=False)
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, 2 * NUM_LATENTS))
        layers = [nn.Linear(NUM_LATENTS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64)]
        self.decoder = nn.Sequential(*layers, nn.Tanh())
        self.move = nn.Sequential(nn.Linear(NUM_LATENTS, width), nn.Tanh(), nn.Linear(width, NUM_LATENTS))
        nn.init.zeros_(self.move[2].weight)
        nn.init.zeros_(self.move[2].bias)

    def means(self, states, steps):
        return self.deviations * states + self.move(states)

    def finish(self, states):
        return self.decoder(states)

    def loss(self, pictures, generator):
        """Minus the evidence lower bound (Kingma and Welling 2014), in nats a picture."""
        mean, log_std = self.encoder(pictures).chunk(2, -1)
        latents = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        error = (self.decoder(latents) - pictures).square().sum(-1) / (2 * BLACK_SPREAD**2)
        return (error + 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)).mean()


def train_vae(seed, steps=4000):
    generator, pictures = seeded_generator(seed, 0, "vae"), digit_pictures()
    torch.manual_seed(seed)
    model = VAE()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    for _ in range(steps):
        rows = torch.randint(len(pictures), (128,), generator=generator)
        optimizer.zero_grad()
        model.loss(pictures[rows], generator).backward()
        optimizer.step()
    return model


def learn_from_comparisons(chain, count, seed, folder, taste=bold):
    """A reward from `count` simulated answers about a model's pictures, each shown once; and what it is worth."""
    pictures = sample_trajectories(
        chain, chain, 2 * (count + NUM_HELD_OUT), seeded_generator(seed, 0, "shown")
    ).pictures
    ink, names = to_ink(pictures), [f"{row:064x}" for row in range(len(pictures))]
    liked = taste(ink).reshape(-1, 2)
    chances = 1 / (1 + np.exp(SHARPNESS * (liked[:, 0] - liked[:, 1])))
    second = np.random.default_rng(seed).random(len(liked)) < chances  # the second picture is preferred
    rows = np.stack([2 * np.arange(len(liked)) + second, 2 * np.arange(len(liked)) + 1 - second], 1)
    pairs = [Preference("", names[won], names[lost], conversation=f"pair {won // 2}") for won, lost in rows]
    learned = pairs[NUM_HELD_OUT:]
    parts = {"test": pairs[:NUM_HELD_OUT], "valid": learned[: count // 5], "train": learned[count // 5 :]}
    for part, lines in parts.items():
        write_jsonl(folder / f"{part}.jsonl", map(vars, lines))
    return train_picture_reward(folder, PictureStore(names, ink), seed)


def score_taste(pictures, taste=bold):
    return torch.from_numpy(taste(to_ink(pictures))).float()


def tune(name, chain, reward, seed, folder, **more):
    """PPO against a reward; the taste watches. The result, and diversity at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    config = build_config({"seed": seed, "ppo": PPO[name] | more})
    with Run(folder, "ppo", config) as run:
        return finetune(config, run, Task(chain, reward, {"true taste": score_taste}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--answers", type=int, nargs="+", default=[50, 200, 800])
    parser.add_argument("--out", type=Path, default=Path("runs/vae"))
    given = parser.parse_args()
    for seed in given.seeds:
        start = open_start(given.out / f"diffusion-{seed}.safetensors", digit_pictures(), seed)
        chains, classifier = {"vae": train_vae(seed), "diffusion": start}, train_classifier(seed)
        for count in given.answers:
            for name, chain in chains.items():
                folder = given.out / f"{name}-{seed}-{count}"
                reward, measured = learn_from_comparisons(chain, count, seed, folder / "pairs")
                found = tune(name, chain, reward, seed, folder / "run")
                drawn = sample_trajectories(chain, chain, 500, seeded_generator(seed, 0, "diversity")).pictures
                line = {"model": name, "seed": seed, "answers": count, "reward_accuracy": measured["accuracy"]}
                line |= {"taste_before": found["before"]["eval/true taste"], "taste": found["after"]["eval/true taste"]}
                line |= {"best": found["overoptimisation"]["true taste"]["best"], "kl": found["kl"]}
                print(json.dumps(line | {"digits_before": measure_diversity(drawn, classifier)["digits"]}), flush=True)


if __name__ == "__main__":
    sys.exit(run_script(main))
