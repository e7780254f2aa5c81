"""MDPEnv: Gymnasium's checker, mean returns against exact values, termination and truncation."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from likelier.mdp.env import MDPEnv
from likelier.mdp.exact import TabularMDP
from likelier.mdp.file import read_mdp

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"


@pytest.mark.filterwarnings("ignore:.*not the render modes:UserWarning", "ignore:.*spec.*:UserWarning")
@pytest.mark.parametrize("name", ["three-states", "grid-world", "chain", "house"])
def test_passes_gymnasiums_checker(name):
    named = read_mdp(CONFIGS / f"{name}.yaml")
    check_env(MDPEnv(named.mdp, named.start), skip_render_check=True)


def mean_return(env, policy, count, gamma):
    generator, total = np.random.default_rng(0), 0.0
    for episode in range(count):
        state, _ = env.reset(seed=episode)
        discount, done = 1.0, False
        while not done:
            state, reward, terminated, truncated, _ = env.step(generator.choice(policy.shape[1], p=policy[state]))
            total, discount, done = total + discount * reward, discount * gamma, terminated or truncated
    return total / count


def test_mean_returns_are_the_exact_values():
    named = read_mdp(CONFIGS / "three-states.yaml")
    policy = np.array([[0.8, 0.2], [0.3, 0.7], [1, 0]])
    exact = named.mdp.policy_values(policy)[0]
    assert exact == pytest.approx(0.8 * 0.5 * 0.9 * 0.7)
    assert mean_return(MDPEnv(named.mdp, named.start), policy, 2000, 0.9) == pytest.approx(exact, abs=0.04)
    house = read_mdp(CONFIGS / "house.yaml")
    patient = np.array([[0, 1.0], [0, 1.0], [1.0, 0], [1.0, 0]])
    exact = house.start @ house.mdp.policy_values(patient)
    assert mean_return(MDPEnv(house.mdp, house.start), patient, 2000, 1.0) == pytest.approx(exact, abs=6)


def test_termination_truncation_and_seeds():
    line = TabularMDP([[[0, 1.0, 0]], [[0, 0, 1.0]], [[0, 0, 0]]], [[1.0], [2.0], [0.0]], 0.9)
    env = MDPEnv(line, [1, 0, 0])
    assert env.reset(seed=3) == (0, {})
    assert env.step(0) == (1, 1.0, False, False, {})
    assert env.step(0) == (2, 2.0, True, False, {})  # nothing is left in state 2
    loop = MDPEnv(TabularMDP([[[1.0]]], [[1.0]], 0.9), max_steps=2)
    loop.reset(seed=0)
    assert [loop.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]
    short = MDPEnv(TabularMDP([[[1.0]]], [[1.0]], 1.0, horizon=2), max_steps=2)
    short.reset(seed=0)
    assert [short.step(0)[2:4] for _ in range(2)] == [(False, False), (True, False)]
    ending = MDPEnv(TabularMDP([[[0.0]]], [[5.0]], 0.9))
    ending.reset(seed=0)
    assert ending.step(0) == (0, 5.0, True, False, {})
    anywhere = MDPEnv(line)
    assert {int(anywhere.reset(seed=seed)[0]) for seed in range(20)} == {0, 1, 2}
