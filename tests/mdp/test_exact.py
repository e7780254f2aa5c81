"""Exact values against hand-worked numbers, every policy tried out, and value iteration; ties; what is refused."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likelier.mdp.exact import TabularMDP, find_nonterminating_states, find_reachable_states

THREE_STATES = np.zeros((3, 2, 3))
THREE_STATES[0, 0, 1] = THREE_STATES[0, 1, 2] = 0.5
THREE_REWARDS = [[0, 0], [0, 1], [0, 0]]


def random_mdp(seed, most_states=4, most_actions=3):
    """Tables and gamma; about half the rows lose mass, some entries are 0, some rewards are equal."""
    generator = np.random.default_rng(seed)
    states, actions = generator.integers(1, most_states + 1), generator.integers(1, most_actions + 1)
    rows = generator.random((states, actions, states)) * (generator.random((states, actions, states)) < 0.7)
    rows /= np.maximum(rows.sum(-1, keepdims=True), 1e-12)
    mass = np.where(generator.random((states, actions)) < 0.5, 1.0, generator.random((states, actions)))
    rewards = generator.integers(-3, 4, (states, actions)) * generator.choice([1.0, 0.1, 1000.0])
    gamma = generator.choice([0.0, 0.3, 0.9, 0.97])
    return rows * mass[..., None], rewards, float(gamma)


def every_policy(states, actions):
    for chosen in itertools.product(range(actions), repeat=states):
        yield np.eye(actions)[list(chosen)]


def slow_values(transitions, rewards, gamma, policy, sweeps):
    """Expected discounted rewards, one step after the other."""
    values = [0.0] * len(rewards)
    for _ in range(sweeps):
        values = [
            sum(
                policy[s][a] * (rewards[s][a] + gamma * sum(p * v for p, v in zip(row, values, strict=True)))
                for a, row in enumerate(transitions[s])
            )
            for s in range(len(rewards))
        ]
    return values


def slow_optimum(transitions, rewards, gamma):
    """Value iteration until nothing moves by more than 1e-13 of the largest value."""
    values = np.zeros(len(rewards))
    while True:
        new = (rewards + gamma * np.einsum("sat,t->sa", transitions, values)).max(1)
        if abs(new - values).max() <= 1e-13 * max(1.0, abs(new).max()) * (1 - gamma):
            return new
        values = new


def test_no_action_is_best_where_all_do_the_same():
    """By state: all end and pay alike; they pay unlike; they lead to unlike states; all stay and pay alike."""
    transitions = np.zeros((4, 2, 4))
    transitions[2, 0, 0] = 1
    transitions[3, :, 3] = 1
    mdp = TabularMDP(transitions, [[1, 1], [0, 1], [0, 0], [2, 2]], 0.9)
    assert mdp.indifferent_states().tolist() == [True, False, False, True]


def test_the_articles_three_states():
    mdp = TabularMDP(THREE_STATES, THREE_REWARDS, 0.9)
    assert mdp.policy_values([[0, 1], [1, 0], [1, 0]]).tolist() == [0, 0, 0]
    assert mdp.optimal_values().tolist() == [0.45, 1.0, 0.0]
    assert mdp.optimal_policy().tolist() == [[1, 0], [0, 1], [1, 0]]
    assert mdp.plan().tolist() == [[[1, 0], [0, 1], [1, 0]]]


def test_by_hand():
    stay_or_end = TabularMDP([[[1.0], [0.0]]], [[1.0, 5.0]], 0.5)
    assert stay_or_end.policy_values([[1, 0]]).tolist() == [2.0]  # 1 / (1 - 0.5)
    assert stay_or_end.policy_values([[0, 1]]).tolist() == [5.0]
    assert stay_or_end.policy_values([[0.5, 0.5]]) == pytest.approx([4.0])  # V = 3 + 0.25 V
    assert stay_or_end.policy_values([[0.5, 0.0]]) == pytest.approx([2 / 3])  # V = 0.5 + 0.25 V: half the mass ends
    assert stay_or_end.optimal_values() == pytest.approx([5.0])
    assert TabularMDP([[[1.0], [0.0]]], [[1.0, 5.0]], 0.9).optimal_values() == pytest.approx([10.0])
    coin = TabularMDP([[[0.5]]], [[1.0]], 1.0)
    assert coin.optimal_values() == pytest.approx([2.0])  # tosses until heads


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_against_every_deterministic_policy_and_value_iteration(seed):
    transitions, rewards, gamma = random_mdp(seed)
    mdp = TabularMDP(transitions, rewards, gamma)
    values, scale = mdp.optimal_values(), max(1.0, abs(rewards).max())
    tried = [mdp.policy_values(policy) for policy in every_policy(*rewards.shape)]
    np.testing.assert_allclose(values, np.max(tried, axis=0), atol=1e-11 * scale)
    np.testing.assert_allclose(values, slow_optimum(transitions, rewards, gamma), atol=1e-11 * scale)
    np.testing.assert_allclose(mdp.policy_values(mdp.optimal_policy()), values, atol=1e-10 * scale)
    assert (mdp.optimal_policy().sum(1) == 1).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_policy_values_against_many_steps(seed):
    transitions, rewards, gamma = random_mdp(seed)
    policy = np.random.default_rng(seed).dirichlet(np.ones(rewards.shape[1]), len(rewards))
    slow = slow_values(transitions, rewards, gamma, policy, 400 if gamma < 0.95 else 1500)
    scale = max(1.0, abs(rewards).max())
    np.testing.assert_allclose(TabularMDP(transitions, rewards, gamma).policy_values(policy), slow, atol=1e-11 * scale)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_the_lowest_of_the_best_actions(seed):
    """Each action once more, in another order and with its numbers added up in another order: the first one stands."""
    transitions, rewards, gamma = random_mdp(seed)
    once = TabularMDP(transitions, rewards, gamma)
    twice = TabularMDP(
        np.concatenate([transitions, transitions * 3 / 3], axis=1),
        np.concatenate([rewards, (rewards + 0.1) - 0.1], axis=1),
        gamma,
    )
    assert twice.optimal_policy().argmax(1).tolist() == once.optimal_policy().argmax(1).tolist()


def test_ties_are_told_from_small_differences():
    rounding = TabularMDP([[[0.0], [0.0]]], [[0.1 + 0.2, 0.3]], 0.9)  # 0.30000000000000004 and 0.3
    assert rounding.optimal_policy().tolist() == [[1, 0]]
    reverse = TabularMDP([[[0.0], [0.0]]], [[0.3, 0.1 + 0.2]], 0.9)
    assert reverse.optimal_policy().tolist() == [[1, 0]]
    real = TabularMDP([[[1.0], [1.0]]], [[1e6, 1e6 + 1e-3]], 0.9)
    assert real.optimal_policy().tolist() == [[0, 1]]
    beside_a_huge_one = TabularMDP(np.zeros((2, 2, 2)), [[1e12, 0], [1.0, 1.001]], 0.9)
    assert beside_a_huge_one.optimal_policy().tolist() == [[1, 0], [0, 1]]
    symmetric = TabularMDP(np.full((3, 3, 3), 1 / 3), np.full((3, 3), 0.1), 0.999)
    assert symmetric.optimal_policy().argmax(1).tolist() == [0, 0, 0]


def test_long_horizons_near_gamma_1():
    """Walk 50 steps for 1, or take 0.9 now: at gamma 0.999 walking is better from state 0 on (0.999^49 = 0.952)."""
    states = 50
    transitions, rewards = np.zeros((states, 2, states)), np.zeros((states, 2))
    rewards[:, 0], rewards[-1, 1] = 0.9, 1.0
    for s in range(states - 1):
        transitions[s, 1, s + 1] = 1.0
    walking = TabularMDP(transitions, rewards, 0.999)
    assert walking.optimal_policy().argmax(1).tolist() == [1] * states
    assert walking.optimal_values()[0] == pytest.approx(0.999**49, rel=1e-12)
    assert TabularMDP(transitions, rewards, 0.99).optimal_policy().argmax(1)[0] == 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_a_horizon_against_plain_recursion(seed, horizon):
    transitions, rewards, gamma = random_mdp(seed)
    mdp = TabularMDP(transitions, rewards, gamma, horizon)

    def best(s, left):
        if left == 0:
            return 0.0
        ahead = [best(t, left - 1) for t in range(len(rewards))] if left > 1 else [0.0] * len(rewards)
        return max(rewards[s][a] + gamma * float(np.dot(row, ahead)) for a, row in enumerate(transitions[s]))

    few = range(len(rewards)) if len(rewards) ** horizon < 500 else []
    scale = max(1.0, abs(rewards).max())
    for s in few:
        assert mdp.optimal_values()[s] == pytest.approx(best(s, horizon), abs=1e-11 * scale)
    policy = np.full(rewards.shape, 1 / rewards.shape[1])
    slow = slow_values(transitions, rewards, gamma, policy, horizon)
    np.testing.assert_allclose(mdp.policy_values(policy), slow, atol=1e-11 * scale)
    assert mdp.plan().shape == (horizon, *rewards.shape)


def test_the_best_action_depends_on_the_steps_to_go():
    """Accept 1 now, or go to where 3 can be had a step later."""
    transitions = np.zeros((2, 2, 2))
    transitions[0, 1, 1] = 1.0
    mdp = TabularMDP(transitions, [[1, 0], [3, 0]], 1.0, horizon=2)
    assert mdp.optimal_values().tolist() == [3, 3]
    assert mdp.plan().argmax(2).tolist() == [[1, 0], [0, 0]]
    assert mdp.optimal_policy().argmax(1).tolist() == [1, 0]


def test_gamma_1_is_refused_where_some_policy_never_ends():
    loop = np.zeros((3, 2, 3))
    loop[0, 0, 1] = loop[1, 1, 0] = 1.0  # 0 and 1 send each other round, if one wants to
    with pytest.raises(ValueError, match=r"gamma is 1, but from state 0 some policy never ends"):
        TabularMDP(loop, np.zeros((3, 2)), 1.0)
    assert find_nonterminating_states(loop) == [0, 1]
    assert TabularMDP(loop, np.ones((3, 2)), 1.0, horizon=5).optimal_values().tolist() == [5, 5, 1]
    leak = loop * 0.99
    assert TabularMDP(leak, np.ones((3, 2)), 1.0).optimal_values() == pytest.approx([100, 100, 1])
    decimals = np.full((1, 1, 1), sum([0.1] * 10))  # 0.9999999999999999 is meant to be 1
    with pytest.raises(ValueError, match="never ends"):
        TabularMDP(decimals, [[1.0]], 1.0)
    way_out = loop.copy()
    way_out[1, 1] = [0.5, 0, 0.5]  # both leave, sooner or later
    assert find_nonterminating_states(way_out) == []


@pytest.mark.parametrize(
    ("transitions", "rewards", "gamma", "message"),
    [
        ([[[1.0 + 2e-9]]], [[0.0]], 0.9, r"transitions\[0, 0\] sums to 1.000000002, which is above 1"),
        ([[[-1e-12]]], [[0.0]], 0.9, r"transitions\[0, 0, 0\] must be a probability, got -1e-12"),
        ([[[np.nan]]], [[0.0]], 0.9, "must be a probability, got nan"),
        ([[[1.0]]], [[np.inf]], 0.9, r"rewards\[0, 0\] is not finite"),
        ([[[1.0]]], [[0.0]], 1.1, "gamma must be between 0 and 1, got 1.1"),
        ([[[1.0]]], [[0.0]], np.nan, "gamma must be between 0 and 1, got nan"),
        ([[1.0]], [[0.0]], 0.9, r"transitions must be \[S, A, S\]"),
        ([[[1.0]]], [0.0], 0.9, r"rewards \[S, A\]"),
        (np.zeros((2, 1, 3)), np.zeros((2, 1)), 0.9, r"got \(2, 1, 3\) and \(2, 1\)"),
    ],
)
def test_invalid_mdps_are_refused(transitions, rewards, gamma, message):
    with pytest.raises(ValueError, match=message):
        TabularMDP(transitions, rewards, gamma)


def test_invalid_policies_are_refused():
    mdp = TabularMDP(THREE_STATES, THREE_REWARDS, 0.9)
    with pytest.raises(ValueError, match=r"policy\[1\] sums to 1.5"):
        mdp.policy_values([[1, 0], [0.5, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"policy\[0, 1\] must be a probability"):
        mdp.policy_values([[1, -1], [1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"\[3, 2\], got \[2, 2\]"):
        mdp.policy_values([[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        TabularMDP(THREE_STATES, THREE_REWARDS, 0.9, horizon=0)


def test_rounding_above_1_is_scaled_away_and_tables_cannot_be_changed():
    given_tables = np.array([[[1 + 5e-10]]])
    mdp = TabularMDP(given_tables, [[1.0]], 0.5)
    assert mdp.transitions.tolist() == [[[1.0]]]
    given_tables[0, 0, 0] = 0.0
    assert mdp.optimal_values().tolist() == [2.0]
    with pytest.raises(ValueError, match="read-only"):
        mdp.transitions[0, 0, 0] = 0.5


def test_sampling_follows_the_rows():
    mdp = TabularMDP([[[0.2, 0.5]], [[0.0, 1.0]]], [[0.0], [0.0]], 0.9)
    drawn = mdp.sample(np.zeros(20_000, dtype=int), np.zeros(20_000, dtype=int), np.random.default_rng(0))
    assert np.bincount(drawn) / 20_000 == pytest.approx([0.2, 0.5, 0.3], abs=0.015)  # 4 standard deviations
    assert (mdp.sample(np.ones(1000, dtype=int), np.zeros(1000, dtype=int), np.random.default_rng(0)) == 1).all()


def test_sweeps_of_value_iteration():
    sweeps = TabularMDP(THREE_STATES, THREE_REWARDS, 0.9).value_iteration(10)
    assert [values.tolist() for values in sweeps] == [[0, 0, 0], [0, 1, 0], [0.45, 1, 0], [0.45, 1, 0]]
    assert len(TabularMDP([[[1.0]]], [[1.0]], 0.5).value_iteration(3)) == 4


def test_reachable_states():
    assert find_reachable_states(THREE_STATES, np.array([1.0, 0, 0])).tolist() == [True, True, True]
    assert find_reachable_states(THREE_STATES, np.array([0, 1.0, 0])).tolist() == [False, True, False]
    chain = np.zeros((4, 1, 4))
    chain[0, 0, 1] = chain[1, 0, 2] = chain[3, 0, 0] = 1e-300
    assert find_reachable_states(chain, np.array([1.0, 0, 0, 0])).tolist() == [True, True, True, False]


def test_solves_hundreds_of_states():
    generator = np.random.default_rng(0)
    mdp = TabularMDP(generator.dirichlet(np.full(300, 0.05), (300, 4)), generator.random((300, 4)), 0.99)
    values = mdp.optimal_values()
    np.testing.assert_allclose(mdp.action_values(values).max(1), values, rtol=1e-11)


def test_exact_answers_need_neither_torch_nor_gymnasium():
    script = "import sys, likelier.mdp.exact, likelier.mdp.file, likelier.cli.mdp\n"
    script += "print([heavy for heavy in ('torch', 'gymnasium', 'scipy') if heavy in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unrolled_each_step_of_a_horizon_has_states_of_its_own():
    mdp = TabularMDP([[[0.5, 0.25], [0.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]], [[1.0, 0.0], [2.0, 3.0]], 0.5, horizon=3)
    unrolled = mdp.unroll_horizon()
    assert unrolled.horizon is None
    assert unrolled.rewards.shape == (6, 2)
    last, two = [1.0, 3.0], [1.625, 3.5]  # 1 + (1 / 2 + 3 / 4) / 2 against 3 / 2; 3 + 1 / 2
    assert unrolled.optimal_values()[4:].tolist() == pytest.approx(last)
    assert unrolled.optimal_values()[2:4].tolist() == pytest.approx(two)
    assert unrolled.optimal_values()[:2].tolist() == pytest.approx(mdp.optimal_values().tolist())
    assert TabularMDP([[[0.5]]], [[1.0]], 0.5).unroll_horizon().horizon is None
