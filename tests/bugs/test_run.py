"""PPO bugs, reproduced: every specimen shows what it is named for, and the healthy ones show nothing."""

import pytest

from likelier.bugs.run import FAULTS, config_names, expected_finding, load_bug_config, run_config
from likelier.doctor.examine import FINDINGS

CAUSES = {
    "kl_negative-noise": "One-sample noise",
    "kl_negative-truncated": "Truncated sampling",
    "kl_negative-temperature": "Another temperature",
    "kl_negative-padding": "Padding",
}

AGAIN = {"healthy-rloo", "kl_negative-temperature", "kl_negative-padding", "kl_negative-noise"}
"""Configs whose finding, or lack of any, another one shows too."""
LONG = {
    "clipfrac_high",
    "clipfrac_zero",
    "entropy_collapse",
    "gold_drift",
    "length_blowup",
    "repetition",
    "reward_flat",
    "scorer_at_chance",
    "value_not_learning",
}
"""Configs that take longest; `tests/doctor/findings` has their findings from metrics."""
IN_BATTERY = AGAIN | LONG
NONE = {"out_of_distribution"}
"""Findings without a specimen: it took a reward run of some hundred pairs and thousands of responses to see this one
(docs/results.md); `tests/doctor/findings` has it from metrics."""


def test_there_is_a_specimen_for_each_finding_and_a_healthy_one():
    names = {expected_finding(name) for name in config_names()}
    assert names == {None, *(look.__name__ for look in FINDINGS)} - NONE
    assert set(FAULTS) <= set(config_names())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.battery if name in IN_BATTERY else ()) for name in config_names()]
)
def test_it_shows_what_it_is_named_for(name, tmp_path):
    row = run_config(name, tmp_path / name)
    assert row["caught"], row
    if name in CAUSES:
        assert row["causes"]["kl_negative"].startswith(CAUSES[name])


def test_no_fault_outlives_its_run():
    from likelier.text import exact_sampler
    from likelier.text.policy import TextPolicy

    assert exact_sampler.draw_tokens.__module__ == "likelier.text.exact_sampler"
    assert TextPolicy.evaluate.__module__ == "likelier.text.policy"
    assert load_bug_config("healthy", "seed=3").seed == 3
