"""The logit of a trained discriminator, against densities that are known."""

import pytest
import torch

from likelier.images.discriminator import Discriminator


def test_its_logit_estimates_the_log_ratio():
    """Real N(0, 1), others N(1, 1): log p_real / p_others = 1/2 - x, on average -1/2 over the others."""
    generator = torch.Generator().manual_seed(0)
    real, others = torch.randn(4000, 1, generator=generator), 1 + torch.randn(4000, 1, generator=generator)
    discriminator = Discriminator(real, seed=0)
    assert discriminator(others).abs().max() == 0  # it begins undecided
    metrics = discriminator.learn(others, generator, steps=300)
    assert metrics == {"discriminator/logit": 0.0, "discriminator/right": 0.0}
    points = torch.tensor([[-1.0], [0.5], [2.0]])
    assert discriminator(points).tolist() == pytest.approx([1.5, 0.0, -1.5], abs=0.35)
    assert discriminator(others).mean().item() == pytest.approx(-0.5, abs=0.15)
