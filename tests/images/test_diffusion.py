"""The noise levels by hand, and a model that learns."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.images.chain import sample_trajectories
from likelier.images.diffusion import Diffusion, open_start, signal_shares, train_diffusion
from likelier.images.digits import to_ink, write_sheet
from likelier.images.finetune import Task, finetune
from likelier.images.reward_model import PictureReward
from likelier.runs.run import Run


def test_noise_levels():
    shares = signal_shares(4)
    assert shares.tolist()[1] == pytest.approx(0.4938, abs=1e-3)  # cos^2(pi / 4), shifted a little
    assert shares.tolist() == sorted(shares.tolist(), reverse=True)
    assert shares[-1] == pytest.approx(1e-4)


def test_means_are_those_of_the_posterior():
    """Ho et al. 2020, equation 7, with one number worked out: level 1 of 2, from pure noise to half of it."""
    model = Diffusion(64, num_levels=2, width=8)
    model.clean = lambda noisy, levels: torch.full_like(noisy, 2.0)
    before, now = (float(share) for share in model.signal)
    beta = 1 - now / before
    expected = before**0.5 * beta / (1 - now) * 2.0 + (1 - beta) ** 0.5 * (1 - before) / (1 - now) * 3.0
    assert model.means(torch.full((1, 64), 3.0), torch.tensor([0])).unique().tolist() == [pytest.approx(expected, 1e-5)]
    assert model.deviations.tolist() == [pytest.approx((beta * (1 - before) / (1 - now)) ** 0.5, 1e-5)]


def test_it_learns_a_distribution():
    """Half the pixels around 0.5, the other half around -0.5, all off by the same number of deviation 0.1."""
    generator = torch.Generator().manual_seed(0)
    level = torch.cat([torch.full((32,), 0.5), torch.full((32,), -0.5)])
    real = level + 0.1 * torch.randn(1000, 1, generator=generator)
    model = train_diffusion(real, seed=0, steps=200)
    pictures = sample_trajectories(model, model, 300, generator).pictures
    assert pictures.mean(0).tolist() == pytest.approx(level.tolist(), abs=0.06)
    assert pictures.mean(1).std().item() == pytest.approx(0.1, rel=0.35)


def test_other_sizes_than_that_of_digits(tmp_path):
    """Pictures of 12 by 12 from start to end: a model, PPO, a score of people's comparisons, a sheet."""
    real = torch.rand(50, 144) * 2 - 1
    start = open_start(tmp_path / "start.safetensors", real, seed=0, steps=2)
    generator = torch.Generator().manual_seed(0)
    pictures = sample_trajectories(start, start, 6, generator).pictures
    assert pictures.shape == (6, 144)
    score = PictureReward(144, generator).requires_grad_(False)
    ppo = {"algorithm": "reinforce_pp", "batch_size": 8, "total_episodes": 16, "num_mini_batches": 1}
    config = build_config({"ppo": ppo | {"num_eval_prompts": 8}})
    with Run(tmp_path / "run", "ppo", config) as run:
        assert finetune(config, run, Task(start, score))["steps"] == 2
    sheet = np.asarray(Image.open(io.BytesIO(write_sheet(to_ink(pictures), columns=3))))
    assert sheet.shape == ((2 * 13 + 1) * 16, (3 * 13 + 1) * 16)
    with pytest.raises(ConfigError, match="pictures: 50 pixels are no square; give as many as 8 x 8 or 12 x 12"):
        write_sheet(np.zeros((2, 50), np.float32))


def test_the_seed_decides_the_weights():
    real = torch.zeros(5, 64)
    once, again, other = (next(train_diffusion(real, seed, steps=1).parameters()) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
