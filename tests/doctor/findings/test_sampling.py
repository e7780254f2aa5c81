"""Tokens that the policy did not sample."""

import numpy as np
import pytest

from broken_metrics import history
from likelier.doctor.findings import sampling


def test_float_rounding_is_no_mismatch():
    assert sampling.sampler_mismatch(history()) is None
    assert sampling.sampler_mismatch(history({"bf16": True}, sampler_difference=0.01)) is None
    assert not any(sampling.sampler_mismatch(history(seed=seed, num_steps=3)) for seed in range(100))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"sampler_difference": 0.01, "sampler_kl": 0.01},
        {"sampler_difference": 0.01, "sampler_kl": 0.0, "sampling_gap": -0.05},
        {"sampler_difference": 0.05, "sampler_kl": 0.0},
        {"sampler_difference_max": 3.0},
        {"sampling_gap": -0.05},
    ],
)
def test_mismatch(spoilt):
    found = sampling.sampler_mismatch(history(**spoilt))
    assert found.severity == "error"
    assert "nats a token" in found.evidence


def test_counted_padding_does_not_follow_the_policy():
    full = {"response_length": 40.0, "ended_rate": 0.5}
    found = sampling.sampler_mismatch(history(**full, sampler_difference=2.0, sampling_gap=3.0))
    assert found.cause.startswith("Padding: every response counts as long as the limit")
    # One word and the end token, say: every answer is as long as the limit, and nothing is wrong.
    assert sampling.sampler_mismatch(history(**full)) is None


def test_a_sampler_that_rounds_as_the_protocol_allows_is_a_warning():
    rounded = {"sampler_difference": 0.01, "sampler_difference_max": 0.3, "sampler_kl": 1e-4}
    found = sampling.sampler_mismatch(history(**rounded, sampler_difference_unpadded=0.01))
    assert found.severity == "warning"
    assert found.cause.startswith("The sampler rounds more coarsely than the trainer (bfloat16")

    coarse = rounded | {"sampler_difference": 0.03, "sampler_difference_unpadded": 0.03, "sampler_kl": -1e-3}
    assert sampling.sampler_mismatch(history({"bf16": True}, **coarse)) is None
    assert sampling.sampler_mismatch(history({"bf16": True}, **coarse | {"sampler_kl": 0.02})).severity == "error"
    assert sampling.sampler_mismatch(history({"bf16": True}, **coarse | {"sampler_difference": 0.06})) is not None


def test_the_gap_of_all_steps_together():
    gap, error = sampling.sampling_gap(history(num_steps=4, sampling_gap=0.03, sampling_gap_error=0.02))
    assert (gap, error) == (pytest.approx(0.03), pytest.approx(0.02 / 2))


def test_what_an_older_policy_drew_is_no_mismatch():
    staleness = np.minimum(np.arange(40), 2.0)
    stale = staleness > 0
    older = {
        "sampler_difference": np.where(stale, 0.2, 3e-7),
        "sampler_difference_max": np.where(stale, 5.0, 3e-6),
        "sampler_kl": np.where(stale, 0.05, 0.0),
        "sampling_gap": np.where(stale, 0.3, 0.01),
    }
    ahead = {"async_steps": 2}
    assert sampling.sampler_mismatch(history(ahead, **older, staleness=staleness)) is None
    assert sampling.sampler_mismatch(history(**older)).severity == "error"  # nothing was drawn ahead here
    wrong = older | {"sampler_difference": np.full(40, 0.2)}  # before the first update already
    found = sampling.sampler_mismatch(history(ahead, **wrong, staleness=staleness))
    assert (found.severity, found.step) == ("error", 1)
