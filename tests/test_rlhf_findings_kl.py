"""A KL below 0 and why, and one that runs away."""

import numpy as np
import pytest

from likelier.rlhf.findings import kl
from spoilt import history, ramp


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
