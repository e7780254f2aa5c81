"""What a search tries: every combination, or drawn from the seed; all of it checked before anything runs."""

import math

import pytest

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.search.space import format_values, make_trials, trial_config


def config(space, ppo=None, **search):
    return build_config({"model": "m", "ppo": ppo or {}, "search": {"space": space, **search}})


def test_a_grid_is_every_combination_the_last_field_fastest():
    trials = make_trials(config({"ppo.gamma": [0.9, 1.0], "ppo.critic": ["shared", "separate"]}))
    assert [tuple(values.values()) for values in trials] == [
        (0.9, "shared"),
        (0.9, "separate"),
        (1.0, "shared"),
        (1.0, "separate"),
    ]


SPACE = {
    "ppo.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "ppo.num_ppo_epochs": {"low": 1, "high": 4},
    "ppo.gamma": {"low": 0.5, "high": 1.0},
    "ppo.critic": ["shared", "separate"],
}


def test_random_values_lie_in_their_ranges_and_fill_them():
    trials = make_trials(config(SPACE, method="random", num_trials=400))
    rates = [values["ppo.learning_rate"] for values in trials]
    assert min(rates) >= 1e-5
    assert max(rates) <= 1e-2
    below = sum(rate < math.sqrt(1e-5 * 1e-2) for rate in rates)
    assert 150 < below < 250  # half of them on each side of the geometric mean
    assert {values["ppo.num_ppo_epochs"] for values in trials} == {1, 2, 3, 4}
    assert 0.7 < sum(values["ppo.gamma"] for values in trials) / 400 < 0.8
    assert {values["ppo.critic"] for values in trials} == {"shared", "separate"}


def test_a_longer_random_search_begins_like_a_shorter_one_and_another_seed_does_not():
    short = make_trials(config(SPACE, method="random", num_trials=3))
    assert make_trials(config(SPACE, method="random", num_trials=9))[:3] == short
    other = build_config({"seed": 1, "search": {"space": SPACE, "method": "random", "num_trials": 3}})
    assert make_trials(other) != short


def test_a_trial_is_what_the_user_would_write():
    asked = config({"ppo.gamma": [0.9]}, ppo={"lam": 0.5})
    found = trial_config(asked, {"ppo.gamma": 0.9, "reward": [{"function": "f.py:g"}], "ppo.learning_rate": 1e-05})
    assert (found.model, found.ppo.gamma, found.ppo.lam, found.ppo.learning_rate) == ("m", 0.9, 0.5, 1e-5)
    assert found.reward[0].function == "f.py:g"
    assert found.search.space == {}


def test_values_are_written_as_they_are_typed():
    assert format_values({"ppo.gamma": 0.9, "ppo.critic": "shared"}) == 'ppo.gamma=0.9 ppo.critic="shared"'


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({}, "search.space: give at least one field"),
        ({"space": {"ppo.gama": [1]}}, "unknown setting `ppo.gama`; did you mean `gamma`?"),
        ({"space": {"ppo.gamma": [0.9, 1.5]}}, "ppo.gamma: .*less than or equal to 1, got 1.5"),
        ({"space": {"ppo.batch_size": [64, 63]}}, "batch_size 63 is not a multiple of num_mini_batches 4"),
        ({"space": {"seed": [1, 2]}}, "seed is not a setting to search over"),
        ({"space": {"ppo.save_steps": [1, 2]}}, "ppo.save_steps is not a setting to search over"),
        ({"space": {"sft.learning_rate": [1]}}, "sft.learning_rate does nothing in stage ppo"),
        ({"stage": "gym", "space": {"model": ["m", "n"]}}, "model does nothing in stage gym, whose settings are gym.…"),
        ({"stage": "dpo", "space": {"ppo.gamma": [1]}}, "ppo.gamma does nothing in stage dpo"),
        ({"stage": "reward", "space": {"prompts": ["a", "b"]}}, "prompts does nothing in stage reward"),
        ({"space": {"data": ["a", "b"]}}, "data does nothing in stage ppo"),
        ({"stage": "reward", "space": {"data": ["a", "b"]}}, "data cannot vary: the folds are cut from it"),
        ({"space": {"ppo.gamma": {"low": 0.9, "high": 1}}}, "ppo.gamma is a range; a grid needs a list"),
        ({"space": {"ppo.gamma": {"low": 0.9, "high": 1.1}}, "method": "random"}, "ppo.gamma: .*got 1.1"),
        ({"space": {"ppo.gamma": {"low": 1, "high": 0.9}}, "method": "random"}, "low 1 must be below high 0.9"),
        (
            {"space": {"ppo.gamma": {"low": 0, "high": 1, "log": True}}, "method": "random"},
            "low must be above 0 with log",
        ),
        (
            {"space": {"ppo.gamma": {"low": 0.1, "high": 1, "lgo": 1}}},
            "unknown setting `search.space.ppo.gamma.range.lgo`",
        ),
        ({"space": {"ppo.gamma": 0.9}}, "search.space.ppo.gamma: Input should be a list of values, or .* got 0.9"),
        ({"space": {"ppo.gamma": []}}, "search.space.ppo.gamma.values: .*at least 1 item"),
        ({"metric": "kl"}, "metric and direction go together"),
        ({"stage": "eval"}, "search.stage: .*got 'eval'"),
        ({"folds": 0}, "search.folds: .*got 0"),
    ],
)
def test_a_wrong_search_is_one_line(search, words):
    with pytest.raises(ConfigError, match=words) as caught:
        make_trials(build_config({"search": search}))
    assert "\n" not in str(caught.value)
