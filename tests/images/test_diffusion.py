"""The noise levels by hand, and a model that learns."""

import pytest
import torch

from likelier.images.chain import sample_trajectories
from likelier.images.diffusion import Diffusion, signal_shares, train_diffusion


def test_noise_levels():
    shares = signal_shares(4)
    assert shares.tolist()[1] == pytest.approx(0.4938, abs=1e-3)  # cos^2(pi / 4), shifted a little
    assert shares.tolist() == sorted(shares.tolist(), reverse=True)
    assert shares[-1] == pytest.approx(1e-4)


def test_means_are_those_of_the_posterior():
    """Ho et al. 2020, equation 7, with one number worked out: level 1 of 2, from pure noise to half of it."""
    model = Diffusion(num_levels=2, width=8)
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


def test_the_seed_decides_the_weights():
    real = torch.zeros(5, 64)
    once, again, other = (next(train_diffusion(real, seed, steps=1).parameters()) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
