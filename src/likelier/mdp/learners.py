"""Tabular TD(0), Q-learning and REINFORCE, for comparison with the exact solution.

Each learns from samples only. Episodes start in uniformly random states and are truncated, so all states are visited.
"""

import bisect
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from likelier.mdp.exact import Floats, Ints, TabularMDP

MAX_EPISODE_LENGTH = 200


class Transition(NamedTuple):
    """One step; `next_state` is S where the episode ended."""

    state: int
    action: int
    reward: float
    next_state: int


def sample_transitions(mdp: TabularMDP, policy: Floats, steps: int, seed: int) -> Iterator[Transition]:
    """Follow `policy` [S, A] for `steps` steps, episode after episode."""
    generator = random.Random(seed)
    num_states, num_actions = mdp.rewards.shape
    # Lists and bisect: ten times as fast as numpy for single draws.
    rows, rewards = mdp.cumulative_transitions.tolist(), mdp.rewards.tolist()
    choices = np.cumsum(policy, axis=1).tolist()
    state, length = generator.randrange(num_states), 0
    for _ in range(steps):
        action = min(bisect.bisect_right(choices[state], generator.random()), num_actions - 1)
        next_state = bisect.bisect_right(rows[state][action], generator.random())
        yield Transition(state, action, rewards[state][action], next_state)
        length += 1
        if next_state == num_states or length == MAX_EPISODE_LENGTH:
            next_state, length = generator.randrange(num_states), 0
        state = next_state


def step_size(gamma: float, visits: float) -> float:
    """Return (L + 1) / (L + n) at the n-th visit, with the effective horizon L = 1 / (1 - gamma) (Jin et al. 2018).

    1 / n would average all targets, so that the early, inaccurate ones would be forgotten too slowly.
    """
    effective_horizon = min(MAX_EPISODE_LENGTH, 1 / (1 - gamma)) if gamma < 1 else MAX_EPISODE_LENGTH
    return (effective_horizon + 1) / (effective_horizon + visits)


def td0(mdp: TabularMDP, policy: Floats, steps: int, seed: int = 0) -> Iterator[Floats]:
    """Yield the estimated values of `policy` after each step: V(s) += alpha * (r + gamma V(s') - V(s)) (Sutton 1988).

    Yields the same array [S + 1] each time; its last entry, for ended episodes, is 0.
    """
    values, visits = np.zeros(len(mdp.rewards) + 1), np.zeros(len(mdp.rewards))
    for state, _, reward, next_state in sample_transitions(mdp, policy, steps, seed):
        visits[state] += 1
        target = reward + mdp.gamma * values[next_state]
        values[state] += step_size(mdp.gamma, visits[state]) * (target - values[state])
        yield values


def q_learning(mdp: TabularMDP, steps: int, seed: int = 0) -> Iterator[Floats]:
    """Yield estimates of the optimal action values, learned off-policy from uniform actions (Watkins 1989).

    Q(s, a) += alpha * (r + gamma max_b Q(s', b) - Q(s, a)). Yields the same array [S + 1, A] each time; its last row is
    0.
    """
    num_states, num_actions = mdp.rewards.shape
    q, visits = np.zeros((num_states + 1, num_actions)), np.zeros((num_states, num_actions))
    uniform = np.full((num_states, num_actions), 1 / num_actions)
    for state, action, reward, next_state in sample_transitions(mdp, uniform, steps, seed):
        visits[state, action] += 1
        target = reward + mdp.gamma * q[next_state].max()
        q[state, action] += step_size(mdp.gamma, visits[state, action]) * (target - q[state, action])
        yield q


class Episodes(NamedTuple):
    """A batch of episodes, `[N, T]` each; `next_states` is S where an episode ended."""

    states: Ints
    actions: Ints
    rewards: Floats
    next_states: Ints
    active: Ints
    """1 up to and including the step that ends the episode."""


def sample_episodes(
    mdp: TabularMDP, policy: Floats, count: int, steps: int, generator: np.random.Generator
) -> Episodes:
    """Sample `count` episodes from uniform initial states, truncated after `steps`; T is the longest length."""
    num_states, num_actions = mdp.rewards.shape
    choices = np.cumsum(policy, axis=1)
    state, active = generator.integers(num_states, size=count), np.ones(count, dtype=np.int64)
    columns = []
    for _ in range(steps):
        uniform = generator.random(count)
        action = np.minimum((uniform[:, None] >= choices[state]).sum(1), num_actions - 1)
        next_state = mdp.sample(state, action, generator)
        columns.append((state, action, mdp.rewards[state, action], next_state, active))
        active = active * (next_state < num_states)
        if not active.any():
            break
        state = np.where(next_state < num_states, next_state, 0)
    return Episodes(*(np.stack(column, axis=1) for column in zip(*columns, strict=True)))


def reinforce(
    mdp: TabularMDP, iterations: int, seed: int = 0, count: int = 64, learning_rate: float = 0.3
) -> Iterator[Floats]:
    """Yield the policy [S, A] after each batch of episodes, by policy gradient with a baseline (Williams 1992).

    grad J = E[sum_t gamma^t (G_t - b(s_t)) grad log pi(a_t | s_t)], where G_t is the return from t on and b the mean
    return from that state so far: a baseline, which reduces the variance without bias.
    """
    generator = np.random.default_rng(seed)
    num_states, num_actions = mdp.rewards.shape
    logits, baseline, visits = np.zeros((num_states, num_actions)), np.zeros(num_states), np.zeros(num_states)
    for _ in range(iterations):
        policy = softmax(logits, axis=1)
        batch = sample_episodes(mdp, policy, count, episode_length_limit(mdp.gamma), generator)
        returns = returns_to_go(batch.rewards * batch.active, mdp.gamma)
        discounts = mdp.gamma ** np.arange(batch.active.shape[1])
        weights = batch.active * discounts * (returns - baseline[batch.states]) / count
        gradient = np.zeros_like(logits)
        np.add.at(gradient, (batch.states, batch.actions), weights)
        gradient -= policy * gradient.sum(1, keepdims=True)  # grad log pi(a|s) = onehot(a) - pi(.|s)
        logits += learning_rate * num_states * gradient
        np.add.at(visits, batch.states, batch.active)
        errors = np.zeros(num_states)
        np.add.at(errors, batch.states, batch.active * (returns - baseline[batch.states]))
        baseline += errors / np.maximum(visits, 1)
        yield softmax(logits, axis=1)


def returns_to_go(rewards: Floats, gamma: float) -> Floats:
    """Return G_t = r_t + gamma G_{t+1} along each row, [N, T]."""
    returns = np.zeros_like(rewards)
    following = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + gamma * following
        returns[:, t] = following
    return returns


def episode_length_limit(gamma: float) -> int:
    """Return the number of steps after which rewards are discounted below 0.01; at most `MAX_EPISODE_LENGTH`."""
    if gamma == 1:
        return MAX_EPISODE_LENGTH
    return min(MAX_EPISODE_LENGTH, 1 + math.ceil(math.log(0.01) / math.log(max(gamma, 0.01))))
