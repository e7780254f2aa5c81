"""KL estimators and controllers against numbers worked out by hand."""

import math

import pytest
import torch

from likelier.ppo.kl import AdaptiveKL, FixedKL, kl_estimate


def test_estimators_by_hand():
    logprobs, ref = torch.tensor([-1.0, -2.0], dtype=torch.float64), torch.tensor([-1.5, -1.0], dtype=torch.float64)
    assert kl_estimate(logprobs, ref, "k1").tolist() == [0.5, -1.0]
    assert kl_estimate(logprobs, ref, "k2").tolist() == [0.125, 0.5]
    expected = [math.exp(-0.5) - 1 + 0.5, math.exp(1.0) - 1 - 1.0]
    assert kl_estimate(logprobs, ref, "k3").tolist() == pytest.approx(expected, abs=1e-12)


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.05, 0.15, 0.8], dtype=torch.float64)
    exact = (policy * (policy / reference).log()).sum()
    expected = {k: (policy * kl_estimate(policy.log(), reference.log(), k)).sum() for k in ("k1", "k2", "k3")}
    assert expected["k1"].item() == pytest.approx(exact.item(), abs=1e-12)
    assert expected["k3"].item() == pytest.approx(exact.item(), abs=1e-12)
    assert abs(expected["k2"] - exact) > 0.4


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_extreme_log_ratios_stay_finite(kind, gap):
    logprobs = torch.tensor([gap], requires_grad=True)
    estimate = kl_estimate(logprobs, torch.zeros(1), kind)
    estimate.sum().backward()
    assert torch.isfinite(estimate).all()
    assert torch.isfinite(logprobs.grad).all()


def test_adaptive_controller_by_hand():
    controller = AdaptiveKL(0.2, target=6.0, horizon=10_000)
    controller.update(kl=6.6, n=512)  # 10 % above
    assert controller.coef == pytest.approx(0.2 * (1 + 0.1 * 512 / 10_000), abs=1e-15)
    controller.update(kl=100.0, n=1000)  # clipped at 20 %
    assert controller.coef == pytest.approx(0.2 * 1.00512 * 1.02, abs=1e-15)
    low = AdaptiveKL(0.2, 6.0, 1000)
    low.update(kl=-3.0, n=100)
    assert low.coef == pytest.approx(0.2 * 0.98, abs=1e-15)


def test_fixed_controller_stays():
    controller = FixedKL(0.05)
    controller.update(kl=50.0, n=512)
    assert controller.coef == 0.05
