"""A KL below 0 and why, and one that runs away."""

import numpy as np
import pytest

from broken_metrics import history, ramp
from likelier.doctor.findings import kl


def noise(mean, deviation, num_steps=40, seed=1):
    found = mean + deviation * np.random.default_rng(seed).standard_normal(num_steps)
    found[0] = 0.0
    return found


def test_a_healthy_kl():
    for look in (kl.kl_negative, kl.kl_explodes):
        assert not any(look(history(num_steps=n, seed=seed)) for n in (1, 3, 12, 40) for seed in range(20))


@pytest.mark.parametrize(
    ("sampler", "cause"),
    [
        ({"sampler_difference": 0.2, "sampler_kl": 0.2, "sampler_difference_unpadded": 0.2}, "Truncated sampling"),
        ({"sampler_difference": 0.2, "sampler_kl": 0.1, "sampler_difference_unpadded": 0.2}, "Another temperature"),
        ({"sampler_difference": 0.2, "sampler_kl": 0.1, "sampler_difference_unpadded": 0.0}, "Padding: rows"),
        ({"response_length": 40.0, "ended_rate": 0.8}, "Padding: every response"),
        ({"sampling_gap": -0.2}, "Truncated sampling"),
        ({"sampling_gap": 0.2}, "Another temperature"),
        ({}, "not sampled from the policy"),
    ],
)
def test_which_of_them_it_is(sampler, cause):
    found = kl.kl_negative(history(kl=noise(-0.6, 0.1), kl_std=0.8, **sampler))
    assert (found.name, found.severity) == ("kl_negative", "error")
    assert found.cause.startswith(cause) or cause in found.cause


def test_one_sample_noise_is_told_from_a_kl_that_is_wrong():
    found = kl.kl_negative(history(kl=noise(0.0, 0.15), kl_std=1.2))
    assert found.severity == "info"
    assert "One-sample noise" in found.cause
    assert kl.kl_negative(history(kl=noise(0.0, 0.005), kl_std=0.04)) is None  # nobody would see it


def test_it_is_known_from_the_log_of_others_too():
    bare = dict.fromkeys(("kl_std", "sampling_gap", "sampling_gap_error", "sampler_difference", "sampler_kl"))
    assert kl.kl_negative(history(kl=noise(-0.6, 0.1), **bare)).severity == "error"


def test_policy_and_reference_differ_before_anything_was_learned():
    below, above = ramp(-0.5, 1.0), ramp(0.5, 3.0)
    assert "not the policy's start" in kl.kl_negative(history(kl=below)).cause
    assert "not the policy's start" in kl.kl_explodes(history(kl=above)).cause
    rounded = kl.kl_explodes(history({"model_dtype": "4bit"}, kl=above))
    assert "stored in fewer bytes than the policy (ppo.model_dtype)" in rounded.cause
    with_adapter = history({"model_dtype": "4bit", "lora_rank": 2, "critic": "adapter"}, kl=above)
    assert "not the policy's start" in kl.kl_explodes(with_adapter).cause  # both stand on the same bytes


@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_a_loss_of_ones_own_that_does_not_hold_the_policy(kl_coef):
    found = kl.kl_explodes(history({"loss": "l.py:f", "kl_coef": kl_coef}, kl=ramp(0, 30)))
    assert found.cause.startswith("The loss of l.py:f does not hold the policy near the reference at kl_coef")
    assert "likelier prove --loss" in found.remedy
    missed = history({"loss": "l.py:f", "kl_target": 5.0}, kl=ramp(0, 14))
    assert "does the loss of l.py:f use it?" in kl.kl_explodes(missed).cause


def test_too_far_away():
    assert "Nothing holds" in kl.kl_explodes(history(kl=ramp(0, 30))).cause
    assert kl.kl_explodes(history({"kl_target": 20.0}, kl=ramp(0, 30))) is None  # wanted
    assert kl.kl_explodes(history({"kl_target": 5.0}, kl=ramp(0, 14))) is not None
    assert kl.kl_explodes(history(kl=ramp(0, 12))) is None


def test_far_for_a_short_response_only_where_it_does_not_pay():
    short = {"response_length": 6.0, "kl": ramp(0, 5)}
    assert kl.kl_explodes(history(**short)) is None
    assert kl.kl_explodes(history(reward=ramp(0, -2), **short)).severity == "error"
    assert kl.kl_explodes(history({"kl_coef": 0.0}, **short)) is not None


def test_steps_that_are_too_large():
    assert "too large" in kl.kl_explodes(history(kl=ramp(0, 8), approx_kl=0.5)).cause
    cold = kl.kl_explodes(history({"temperature": 0.25}, kl=ramp(0, 8), approx_kl=0.5))
    assert "temperature 0.25 they reach 4 times as far" in cold.cause


def test_a_first_update_that_leaps():
    """A whole SmolLM2-135M at an adapter's step size: 7.2 nats behind two optimizer steps, then approx_kl fell."""
    leap = {
        "kl": [0.0, 7.24, 15.8, 15.0, 11.5, 16.4],
        "kl_std": 4.6,
        "approx_kl": [0.04, 0.05, 0.02, 0.003, 0.002, 0.001],
    }
    for steps in (2, 3, 6):
        values = {name: value if isinstance(value, float) else value[:steps] for name, value in leap.items()}
        found = kl.kl_explodes(history({"learning_rate": 3e-4}, num_steps=steps, **values))
        assert found.severity == "warning"
        assert found.cause.startswith("The steps are too large")
        assert "the first update alone led to kl 7.24 in step 2" in found.evidence
        assert "(0.0003 is a step size for adapters; whole pretrained models take 1e-6 to 1e-5)" in found.remedy
    adapter = kl.kl_explodes(history({"learning_rate": 3e-4, "lora_rank": 16}, num_steps=6, **leap))
    assert adapter.remedy == "Lower ppo.learning_rate or ppo.num_ppo_epochs, or set ppo.target_kl"
    noisy = leap | {"kl_std": 40.0}  # 7.24 with a standard error of 40 / sqrt(responses of a step)
    assert kl.kl_explodes(history(num_steps=6, **noisy)) is None


def test_other_settings_that_let_it_go():
    missed = kl.kl_explodes(history({"kl_target": 1e-3}, kl=ramp(0, 2), kl_coef=ramp(0.05, 3)))
    assert "kl_coef was 0.05, now 3 in step 40" in missed.cause
    shrunk = kl.kl_explodes(history({"weight_decay": 10.0}, kl=ramp(0, 90)))
    assert shrunk.cause == "Weight decay has taken 15 % off the weights"  # 8 steps each of 1e-4 falling to 0: 0.016
    assert kl.kl_explodes(history({"kl_estimator": "k3"}, kl=ramp(0, 90))).remedy.startswith("Set ppo.kl_estimator=k1")


def test_an_entropy_bonus_that_takes_over():
    spoilt = {"kl": ramp(0, 90), "approx_kl": 0.5, "entropy": ramp(0.8, 3)}
    assert "entropy bonus" in kl.kl_explodes(history({"entropy_coef": 1.0}, **spoilt)).cause
    assert "too large" in kl.kl_explodes(history(**spoilt)).cause


def test_without_a_price_that_is_the_cause_however_large_the_steps():
    free = {"kl_coef": 0.0}
    slow, fast = (kl.kl_explodes(history(free, kl=ramp(0, 90), approx_kl=size)) for size in (0.01, 0.14))
    assert slow.cause == "Nothing holds the policy: ppo.kl_coef is 0"
    assert fast.cause == "Nothing holds the policy: ppo.kl_coef is 0; the steps are large, too"
    assert "Raise ppo.kl_coef. Lower ppo.learning_rate" in fast.remedy


def test_a_policy_that_pays_more_than_it_gets_is_driven_by_errors():
    lost = {"kl": ramp(0, 50), "reward": ramp(0.5, -10)}
    assert kl.kl_explodes(history(**lost)).cause.startswith("Noise drives the policy")
    misled = kl.kl_explodes(history(explained_variance_mc=-3.0, **lost))
    assert misled.cause.startswith("The critic misleads the policy")
    assert "explained_variance_mc -3 (median up to step 40)" in misled.evidence


def test_a_reference_of_its_own_may_be_away_from_the_start():
    """In the second round of a circle KL is measured from the first model: 3.3 nats in step 1 were called an error."""
    away = {"kl": ramp(3.3, 4.0)}
    assert kl.kl_explodes(history(**away)).severity == "error"
    assert kl.kl_explodes(history({"reference": "first"}, **away)) is None
    assert kl.kl_negative(history({"reference": "first"}, kl=ramp(3.3, 4.0))) is None
