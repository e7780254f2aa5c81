"""A small diffusion model of pictures, trained from scratch (Ho et al. 2020, "Denoising diffusion probabilistic
models").

It knows the few noise levels of its sampler and no others, and predicts the clean picture.
"""

import math
import os
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likelier.progress import progress
from likelier.training.setup import seeded_generator
from likelier.training.state import load_module, save_module

TRAINING_STEPS, BATCH_SIZE, LEARNING_RATE, WARMUP_STEPS = 4000, 128, 2e-3, 100
WEIGHT_BOUNDS = (0.1, 5.0)
"""Of the error at a noise level: its signal-to-noise ratio within these bounds."""


class Diffusion(nn.Module):
    """A multilayer perceptron that denoises in `num_levels` steps; all but the last draw noise."""

    signal: Tensor
    """Share of picture in the variance at each level, the cleanest first, [L]."""
    of_clean: Tensor
    of_noisy: Tensor
    deviations: Tensor

    def __init__(self, num_pixels: int, num_levels: int = 16, width: int = 256, num_blocks: int = 3) -> None:
        super().__init__()
        self.size = num_pixels
        signal = signal_shares(num_levels)
        before = torch.cat([torch.ones(1), signal[:-1]])
        beta = 1 - signal / before
        constants = {
            "signal": signal,
            "of_clean": before.sqrt() * beta / (1 - signal),
            "of_noisy": (1 - beta).sqrt() * (1 - before) / (1 - signal),
            # Of the steps in the order in which they are taken, from the noisiest level to the one before the last.
            "deviations": (beta * (1 - before) / (1 - signal)).sqrt().flip(0)[:-1],
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.levels = nn.Embedding(num_levels, width)
        self.inputs = nn.Linear(num_pixels, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(num_blocks)
        )
        self.outputs = nn.Linear(width, num_pixels)

    def clean(self, noisy: Float[Tensor, "N P"], levels: Int[Tensor, " N"]) -> Float[Tensor, "N P"]:
        """Predict the clean picture, from -1 to 1."""
        level = self.levels(levels)
        hidden = self.inputs(noisy) + level
        for block in self.blocks:
            hidden = hidden + block(hidden + level)
        outputs: Tensor = self.outputs(hidden)
        return outputs

    def means(self, states: Float[Tensor, "N P"], steps: Int[Tensor, " N"]) -> Float[Tensor, "N P"]:
        """Return the mean of the next state: equation 7 of Ho et al. with the predicted clean picture."""
        levels = len(self.signal) - 1 - steps
        clean = self.clean(states, levels)
        return self.of_clean[levels, None] * clean + self.of_noisy[levels, None] * states

    def finish(self, states: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
        """Return the pictures: the last step has no noise, and its mean is the predicted clean picture."""
        return self.clean(states, torch.zeros(len(states), dtype=torch.long)).clamp(-1, 1)


def signal_shares(num_levels: int) -> Float[Tensor, " L"]:
    """Share of the variance that is picture at each level, the cleanest first (cosine; Nichol and Dhariwal 2021)."""
    at = torch.arange(1, num_levels + 1, dtype=torch.float64) / num_levels
    shares = torch.cos((at + 0.008) / 1.008 * math.pi / 2).square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return shares.clamp(min=1e-4).float()


def train_diffusion(pictures: Float[Tensor, "N P"], seed: int, steps: int = TRAINING_STEPS) -> Diffusion:
    """Train a model of pictures, from -1 to 1, from random weights."""
    generator = seeded_generator(seed, 0, "diffusion")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))  # of the layers' own initialisation
        model = Diffusion(pictures.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.0, fused=True)
    with progress("diffusion model", steps) as job:
        for step in range(steps):
            rate = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = torch.randint(len(pictures), (BATCH_SIZE,), generator=generator)
            optimizer.zero_grad()
            denoising_loss(model, pictures[rows], generator).backward()
            optimizer.step()
            job.advance()
    return model


def open_start(path: Path, pictures: Float[Tensor, "N P"], seed: int, steps: int = TRAINING_STEPS) -> Diffusion:
    """Return the model in a file; where there is none it is trained on the pictures and written."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        save_module(partial, train_diffusion(pictures, seed, steps))
        os.replace(partial, path)
    model = Diffusion(pictures.shape[1])
    load_module(path, model)
    return model


def denoising_loss(model: Diffusion, pictures: Float[Tensor, "N P"], generator: torch.Generator) -> Float[Tensor, ""]:
    """Mean squared error of the predicted pictures at random noise levels, weighted by signal over noise."""
    levels = torch.randint(len(model.signal), (len(pictures),), generator=generator)
    signal = model.signal[levels, None]
    noisy = signal.sqrt() * pictures + (1 - signal).sqrt() * torch.randn(pictures.shape, generator=generator)
    weights = (signal / (1 - signal)).clamp(*WEIGHT_BOUNDS)
    return (weights * (model.clean(noisy, levels) - pictures).square()).mean()
