"""TD(0), Q-learning and REINFORCE on a table, plain, so that a learner can watch them reach the exact answer.

Each knows an MDP only by its samples. Walks start anywhere and are cut after a while, so that every state is seen.
"""

import bisect
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from likelier.mdp.exact import Floats, Ints, TabularMDP

LONGEST_WALK = 200


class Step(NamedTuple):
    """One step of a walk; `following` is S where the episode ended."""

    state: int
    action: int
    reward: float
    following: int


def walk(mdp: TabularMDP, policy: Floats, steps: int, seed: int) -> Iterator[Step]:
    """Act by `policy` [S, A] for so many steps, one episode after the other."""
    draw = random.Random(seed)
    num_states, num_actions = mdp.rewards.shape
    rows, choices, rewards = mdp.cumulative.tolist(), np.cumsum(policy, axis=1).tolist(), mdp.rewards.tolist()
    state, length = draw.randrange(num_states), 0
    for _ in range(steps):
        action = min(bisect.bisect_right(choices[state], draw.random()), num_actions - 1)
        following = bisect.bisect_right(rows[state][action], draw.random())
        yield Step(state, action, rewards[state][action], following)
        length += 1
        if following == num_states or length == LONGEST_WALK:
            following, length = draw.randrange(num_states), 0
        state = following


def step_size(gamma: float, visits: float) -> float:
    """(L + 1) / (L + n) at the n-th visit, where L = 1 / (1 - gamma) is how far ahead values look (Jin et al. 2018).

    1 / n would be the mean of targets of which the early ones are far off, and forget them only slowly.
    """
    ahead = min(LONGEST_WALK, 1 / (1 - gamma)) if gamma < 1 else LONGEST_WALK
    return (ahead + 1) / (ahead + visits)


def td0(mdp: TabularMDP, policy: Floats, steps: int, seed: int = 0) -> Iterator[Floats]:
    """Values of `policy` after each step: V(s) += alpha * (r + gamma V(s') - V(s)) (Sutton 1988).

    Yields one and the same array, with 0 for "ended" behind the states.
    """
    values, visits = np.zeros(len(mdp.rewards) + 1), np.zeros(len(mdp.rewards))
    for state, _, reward, following in walk(mdp, policy, steps, seed):
        visits[state] += 1
        target = reward + mdp.gamma * values[following]
        values[state] += step_size(mdp.gamma, visits[state]) * (target - values[state])
        yield values


def q_learning(mdp: TabularMDP, steps: int, seed: int = 0) -> Iterator[Floats]:
    """Action values of the best policy, learned while acting at random (Watkins 1989).

    Q(s, a) += alpha * (r + gamma max_b Q(s', b) - Q(s, a)). Yields one and the same array, the last row 0 for "ended".
    """
    num_states, num_actions = mdp.rewards.shape
    q, visits = np.zeros((num_states + 1, num_actions)), np.zeros((num_states, num_actions))
    anything = np.full((num_states, num_actions), 1 / num_actions)
    for state, action, reward, following in walk(mdp, anything, steps, seed):
        visits[state, action] += 1
        target = reward + mdp.gamma * q[following].max()
        q[state, action] += step_size(mdp.gamma, visits[state, action]) * (target - q[state, action])
        yield q


class Episodes(NamedTuple):
    """Walks of many at once, each `[N, T]`: one step a column; `following` is S where an episode ended."""

    states: Ints
    actions: Ints
    rewards: Floats
    following: Ints
    alive: Ints
    """1 up to and with the step that ends the first episode of the row."""


def episodes(mdp: TabularMDP, policy: Floats, count: int, steps: int, generator: np.random.Generator) -> Episodes:
    """One episode from each of `count` random states, cut after `steps`; T is the longest."""
    num_states, num_actions = mdp.rewards.shape
    choices = np.cumsum(policy, axis=1)
    state, alive = generator.integers(num_states, size=count), np.ones(count, dtype=np.int64)
    found = []
    for _ in range(steps):
        drawn = generator.random(count)
        action = np.minimum((drawn[:, None] >= choices[state]).sum(1), num_actions - 1)
        following = mdp.sample(state, action, generator)
        found.append((state, action, mdp.rewards[state, action], following, alive))
        alive = alive * (following < num_states)
        if not alive.any():
            break
        state = np.where(following < num_states, following, 0)
    return Episodes(*(np.stack(column, axis=1) for column in zip(*found, strict=True)))


def reinforce(
    mdp: TabularMDP, iterations: int, seed: int = 0, count: int = 64, learning_rate: float = 0.3
) -> Iterator[Floats]:
    """Policies [S, A] after each batch of episodes: the gradient of the expected return (Williams 1992).

    grad J = E[sum_t gamma^t (G_t - b(s_t)) grad log pi(a_t | s_t)], where G_t is the return from t on and b the mean of
    the returns seen from that state so far, which changes the variance but not the expectation.
    """
    generator = np.random.default_rng(seed)
    num_states, num_actions = mdp.rewards.shape
    logits, baseline, visits = np.zeros((num_states, num_actions)), np.zeros(num_states), np.zeros(num_states)
    for _ in range(iterations):
        policy = softmax(logits)
        seen = episodes(mdp, policy, count, walk_length(mdp.gamma), generator)
        returns = returns_to_go(seen.rewards * seen.alive, mdp.gamma)
        discounts = mdp.gamma ** np.arange(seen.alive.shape[1])
        weights = seen.alive * discounts * (returns - baseline[seen.states]) / count
        gradient = np.zeros_like(logits)
        np.add.at(gradient, (seen.states, seen.actions), weights)
        gradient -= policy * gradient.sum(1, keepdims=True)  # grad log pi(a|s) = onehot(a) - pi(.|s)
        logits += learning_rate * num_states * gradient
        np.add.at(visits, seen.states, seen.alive)
        errors = np.zeros(num_states)
        np.add.at(errors, seen.states, seen.alive * (returns - baseline[seen.states]))
        baseline += errors / np.maximum(visits, 1)
        yield softmax(logits)


def returns_to_go(rewards: Floats, gamma: float) -> Floats:
    """G_t = r_t + gamma G_{t+1} along each row."""
    found = np.zeros_like(rewards)
    ahead = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        ahead = rewards[:, t] + gamma * ahead
        found[:, t] = ahead
    return found


def walk_length(gamma: float) -> int:
    """Steps after which a reward counts for less than a hundredth; at most `LONGEST_WALK`."""
    return LONGEST_WALK if gamma == 1 else min(LONGEST_WALK, 1 + math.ceil(math.log(0.01) / math.log(max(gamma, 0.01))))


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
