"""TD(0), Q-learning and REINFORCE reach what is known exactly; their parts by hand."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from likelier.mdp.exact import TabularMDP
from likelier.mdp.file import read_mdp
from likelier.mdp.learners import (
    Transition,
    episode_length_limit,
    q_learning,
    reinforce,
    returns_to_go,
    sample_episodes,
    sample_transitions,
    step_size,
    td0,
)

COIN = TabularMDP([[[0.5], [0.0]]], [[1.0, 1.5]], 1.0)
"""Toss for 1 each time until tails comes, worth 2; or take 1.5."""


def last(learned):
    for each in learned:
        final = each
    return final


@pytest.fixture(scope="module")
def grid():
    return read_mdp(Path(__file__).parents[2] / "configs" / "mdp" / "grid-world.yaml").mdp


def test_sampled_transitions_follow_the_rows_and_restart_after_an_end():
    line = TabularMDP([[[0, 1.0]], [[0, 0]]], [[2.0], [3.0]], 0.9)
    steps = list(sample_transitions(line, np.ones((2, 1)), 200, seed=0))
    assert set(steps) == {Transition(0, 0, 2.0, 1), Transition(1, 0, 3.0, 2)}
    assert all(after.state == 1 for before, after in pairwise(steps) if before.state == 0)
    assert {after.state for before, after in pairwise(steps) if before.state == 1} == {0, 1}


def test_step_sizes():
    assert step_size(0.5, 1) == 1.0
    assert step_size(0.5, 4) == 0.5  # L = 2: 3 / 6
    assert step_size(1.0, 1) == 1.0


def test_returns_to_go():
    assert returns_to_go(np.array([[1.0, 0, 4], [0, 2, 0]]), 0.5).tolist() == [[2, 2, 4], [1, 2, 0]]
    assert [episode_length_limit(gamma) for gamma in (0.0, 0.1, 1.0, 0.999)] == [2, 3, 200, 200]


def test_episodes_end_where_the_mass_is_missing():
    batch = sample_episodes(COIN, np.array([[1.0, 0]]), 4000, 200, np.random.default_rng(0))
    lengths = batch.active.sum(1)
    assert lengths.mean() == pytest.approx(2, abs=0.1)
    assert (batch.next_states[np.arange(4000), lengths - 1] == 1).all()
    assert batch.states.shape[1] == lengths.max()


def test_td0_estimates_the_values_of_a_policy():
    values = last(td0(COIN, np.array([[0.5, 0.5]]), 40_000))  # V = 0.5 (1 + V/2) + 0.75
    assert values[0] == pytest.approx(5 / 3, abs=0.08)
    assert values[1] == 0


def test_q_learning_finds_the_optimum_while_acting_at_random():
    q = last(q_learning(COIN, 40_000))
    assert q[0] == pytest.approx([2.0, 1.5], abs=0.1)


def test_reinforce_learns_the_better_action():
    first, *_, final = reinforce(COIN, 150)
    assert first[0, 0] < 0.6
    assert final[0, 0] > 0.97


def test_the_grid_world_is_learned_from_samples(grid):
    best = grid.optimal_values()
    td = [abs(values[:-1] - best).max() for values in td0(grid, grid.optimal_policy(), 60_000)]
    assert td[999] > 0.5
    assert td[-1] < 0.12
    q = last(q_learning(grid, 100_000))
    assert abs(q[:-1].max(1) - best).max() < 0.15
    assert (best - grid.policy_values(last(reinforce(grid, 60)))).max() < 0.4
