"""Ratios, clipping, gradients and critics that are not as they should be."""

import numpy as np
import pytest

from broken_metrics import history, ramp
from likelier.doctor.findings import update


@pytest.mark.parametrize(
    "look",
    [
        update.ratio_not_one,
        update.clipfrac_high,
        update.clipfrac_zero,
        update.gradients_clipped,
        update.value_not_learning,
    ],
)
@pytest.mark.parametrize("num_steps", [1, 5, 12, 40])
def test_nothing_is_found_in_a_healthy_run(look, num_steps):
    assert not any(look(history(num_steps=num_steps, seed=seed)) for seed in range(20))


def test_ratio_not_one_names_the_first_step():
    deviation = np.where(np.arange(40) >= 10, 0.03, 0.0)
    found = update.ratio_not_one(history(first_ratio_deviation=deviation))
    assert (found.step, found.severity) == (11, "error")
    assert "0.03" in found.evidence
    assert update.ratio_not_one(history({"bf16": True}, first_ratio_deviation=0.001)) is None
    assert update.ratio_not_one(history(first_ratio_deviation=None, ratio=1.4)) is not None


def test_clipfrac_high_wherever_it_was():
    early = np.where(np.arange(40) < 10, 0.5, 0.0)
    found = update.clipfrac_high(history(clipfrac=early))
    assert found.step <= 10
    assert "narrow" in found.cause  # approx_kl is small
    assert "too large" in update.clipfrac_high(history(clipfrac=early, approx_kl=0.2)).cause
    assert update.clipfrac_high(history(clipfrac=0.22, approx_kl=0.02)) is None  # a tiny model that learns fast
    tight = update.clipfrac_high(history({"cliprange": 1e-4}, clipfrac=early, approx_kl=0.008))
    assert tight.remedy == "Raise ppo.cliprange"  # no more than the usual 0.2 would let through: 0.02


def test_clipping_is_not_judged_where_the_loss_is_ones_own():
    own = history({"loss": "l.py:f"}, clipfrac=None)
    assert update.clipfrac_high(own) is None
    assert update.clipfrac_zero(own) is None


def test_clipfrac_zero():
    assert "timid" in update.clipfrac_zero(history(clipfrac=0.0, approx_kl=1e-7)).cause
    assert "wider" in update.clipfrac_zero(history(clipfrac=0.0, approx_kl=0.05)).cause
    single = history(clipfrac=0.0, optimizer_steps=np.arange(1, 41))
    assert update.clipfrac_zero(single) is None  # one step an update cannot be clipped


def test_gradients_always_clipped():
    assert "max_grad_norm 1" in update.gradients_clipped(history(grad_norm=50.0, grad_clipped=1.0)).evidence
    assert update.gradients_clipped(history(grad_norm=50.0, grad_clipped=None)) is not None
    assert update.gradients_clipped(history(grad_norm=2.0, grad_clipped=1.0)) is None  # hardly
    assert "Scale the score" in update.gradients_clipped(history(grad_norm=50.0, grad_clipped=1.0)).remedy
    tight = update.gradients_clipped(history({"max_grad_norm": 1e-4}, grad_norm=0.3, grad_clipped=1.0))
    assert tight.remedy == "Raise ppo.max_grad_norm (1 is usual)"


def test_value_not_learning():
    blind = {"explained_variance": 0.0, "explained_variance_mc": -0.02}
    assert "too slowly" in update.value_not_learning(history(**blind)).cause
    assert "cliprange_value" in update.value_not_learning(history(value_clipfrac=0.8, **blind)).cause
    assert update.value_not_learning(history(num_steps=20, explained_variance=0.0, explained_variance_mc=0.02)) is None
    rare = {"score_bottom_share": 0.9, "score_top_share": 0.01}  # 40 steps of 64 tell as much as 512 responses
    assert update.value_not_learning(history(**blind, **rare)) is None
    assert update.value_not_learning(history(**blind, score_bottom_share=0.6)) is not None  # 2,048
    own = update.value_not_learning(history(explained_variance=0.8, explained_variance_mc=0.0))
    assert "its own values" in own.cause
    assert update.value_not_learning(history(explained_variance_mc=ramp(0, -3))).severity == "error"
    assert update.value_not_learning(history(explained_variance=0.0, explained_variance_mc=None)) is not None
    assert update.value_not_learning(history(explained_variance=None, explained_variance_mc=None)) is None  # no critic
