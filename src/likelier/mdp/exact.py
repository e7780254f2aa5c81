"""Exact solution of tabular MDPs: policy evaluation, policy iteration, backward induction, value iteration."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MASS_TOLERANCE = 1e-9
"""Probabilities written as decimals sum to 1 within this."""
MAX_CONTINUING_GAMMA = 1 - 1e-12
"""Above this, values of a policy that never terminates are lost in rounding; at 1 they may be infinite."""
TIE_TOLERANCE = 1e-12
"""Action values this close, relative to the terms of their sums, are ties: the rest is rounding."""


class TabularMDP:
    """An MDP with states 0 to S-1, actions 0 to A-1 and known transition probabilities and rewards; immutable.

    `transitions` [S, A, S]: rows sum to at most 1, the missing mass ends the episode. `rewards` [S, A]: expected reward
    of an action. With a `horizon`, episodes also end after that many steps, and values are those at the first step.
    ValueError: a row above 1 + 1e-9, a negative or non-finite entry, shapes that do not fit, gamma outside 0 to 1,
    gamma = 1 without a horizon if some policy never terminates.
    """

    def __init__(self, transitions: ArrayLike, rewards: ArrayLike, gamma: float, horizon: int | None = None) -> None:
        self.transitions, self.rewards = validate_tables(transitions, rewards)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be between 0 and 1, got {gamma}")
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}")
        self.gamma, self.horizon = float(gamma), horizon
        if (
            gamma > MAX_CONTINUING_GAMMA
            and horizon is None
            and (states := find_nonterminating_states(self.transitions))
        ):
            raise ValueError(
                f"gamma is {gamma:g}, but from state {states[0]} some policy never ends and may be worth "
                "infinitely much; lower gamma, or let every action end the episode with some probability"
            )

    def policy_values(self, policy: ArrayLike) -> Floats:
        """Return V [S], solving V = r_pi + gamma P_pi V as a linear system (Puterman 1994, theorem 6.1.1).

        `policy` [S, A]: probabilities of actions; missing mass ends the episode. ValueError: a row above 1 + 1e-9 or
        a negative entry.
        """
        probabilities = validate_policy(policy, self.rewards.shape)
        rewards = (probabilities * self.rewards).sum(1)
        transitions = np.einsum("sa,sat->st", probabilities, self.transitions)
        if self.horizon is None:
            return np.linalg.solve(np.eye(len(rewards)) - self.gamma * transitions, rewards)
        values = np.zeros(len(rewards))
        for _ in range(self.horizon):
            values = rewards + self.gamma * transitions @ values
        return values

    def optimal_values(self) -> Floats:
        """Return the optimal state values, [S]."""
        return self.optimum()[0]

    def optimal_policy(self) -> Floats:
        """Return the optimal policy [S, A], one-hot, ties to the lowest action; at the first step with a horizon."""
        return np.asarray(self.plan()[0])

    def plan(self) -> Floats:
        """Return the optimal policy at each step of the horizon, [H, S, A], one-hot; H is 1 without a horizon."""
        return np.eye(self.rewards.shape[1])[self.optimum()[1]]

    def optimum(self) -> tuple[Floats, Ints]:
        """Return optimal values [S] and actions [H, S]."""
        return policy_iteration(self) if self.horizon is None else backward_induction(self, self.horizon)

    def unroll_horizon(self) -> "TabularMDP":
        """Return the same MDP without a horizon, with the step in the state: h * S + s is state s after h steps."""
        if self.horizon is None:
            return self
        num_states, num_actions = self.rewards.shape
        size = self.horizon * num_states
        transitions = np.zeros((size, num_actions, size))
        for start in range(0, size - num_states, num_states):
            end = start + num_states
            transitions[start:end, :, end : end + num_states] = self.transitions
        return TabularMDP(transitions, np.tile(self.rewards, (self.horizon, 1)), self.gamma)

    def indifferent_states(self) -> NDArray[np.bool_]:
        """Return a mask [S] of the states whose actions all have the same reward and transitions."""
        same_transitions = (self.transitions == self.transitions[:, :1]).all((1, 2))
        return np.asarray(same_transitions & (self.rewards == self.rewards[:, :1]).all(1))

    def action_values(self, values: Floats) -> Floats:
        """Return Q(s, a) = r(s, a) + gamma * sum over t of p(t | s, a) V(t), [S, A]."""
        return self.rewards + self.gamma * self.transitions @ values

    def best_actions(self, values: Floats) -> Ints:
        """Return the greedy actions [S] w.r.t. `values`, ties to the lowest."""
        q = self.action_values(values)
        greedy = q >= q.max(1, keepdims=True) - self.tie_tolerance(values)[:, None]
        return np.asarray(greedy.argmax(1), dtype=np.int64)

    def tie_tolerance(self, values: Floats) -> Floats:
        """Return the rounding error [S] within which action values count as equal."""
        magnitude = abs(self.rewards) + self.gamma * self.transitions @ abs(values)
        return np.asarray(TIE_TOLERANCE * magnitude.max(1))

    @cached_property
    def cumulative_transitions(self) -> Floats:
        """Cumulative transition probabilities [S, A, S], for sampling."""
        return np.cumsum(self.transitions, axis=-1)

    def sample(self, states: Ints, actions: Ints, generator: np.random.Generator) -> Ints:
        """Draw the next state of each (state, action), [N]; S where the episode ends."""
        uniform = generator.random(len(states))
        passed = uniform[:, None] >= self.cumulative_transitions[states, actions]
        return np.asarray(passed.sum(1), dtype=np.int64)

    def value_iteration(self, sweeps: int, change: float = 0.0) -> list[Floats]:
        """Return V_0 = 0, V_k = max_a Q(V_{k-1}), up to `sweeps` or until the largest change is at most `change`."""
        values = [np.zeros(len(self.rewards))]
        while len(values) <= sweeps:
            values.append(self.action_values(values[-1]).max(1))
            if abs(values[-1] - values[-2]).max() <= change:
                break
        return values


def policy_iteration(mdp: TabularMDP) -> tuple[Floats, Ints]:
    """Alternate policy evaluation and greedy improvement until nothing improves (Howard 1960).

    Always terminates: an action changes only for a gain above rounding error, and a repeated policy ends the loop.
    """
    num_states, num_actions = mdp.rewards.shape
    actions = mdp.best_actions(np.zeros(num_states))
    visited = set()
    while True:
        visited.add(actions.tobytes())
        values = mdp.policy_values(np.eye(num_actions)[actions])
        q = mdp.action_values(values)
        gain = q.max(1) - q[np.arange(num_states), actions]
        actions = np.where(gain > mdp.tie_tolerance(values), q.argmax(1), actions)
        if actions.tobytes() in visited:
            return values, mdp.best_actions(values)[None]


def backward_induction(mdp: TabularMDP, horizon: int) -> tuple[Floats, Ints]:
    """Return optimal values [S] and actions [H, S], computed from the last step to the first."""
    values, actions = np.zeros(len(mdp.rewards)), []
    for _ in range(horizon):
        actions.append(mdp.best_actions(values))
        values = mdp.action_values(values).max(1)
    return values, np.array(actions[::-1])


def validate_tables(transitions: ArrayLike, rewards: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as read-only float64 copies, with rows above 1 within the tolerance scaled to 1."""
    p, r = np.array(transitions, dtype=np.float64), np.array(rewards, dtype=np.float64)
    if r.ndim != 2 or not r.size or p.shape != (*r.shape, len(r)):
        raise ValueError(f"transitions must be [S, A, S] and rewards [S, A], got {p.shape} and {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError(f"rewards{first_index(~np.isfinite(r))} is not finite")
    mass = validate_mass("transitions", p)
    p /= np.maximum(mass, 1)[..., None]
    for table in (p, r):
        table.setflags(write=False)
    return p, r


def validate_policy(policy: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Return the policy as a float64 copy. ValueError: wrong shape, or a row that is not a sub-distribution."""
    table = np.array(policy, dtype=np.float64)
    if table.shape != shape:
        raise ValueError(f"a policy must be [S, A] = {list(shape)}, got {list(table.shape)}")
    validate_mass("policy", table)
    return table


def validate_mass(name: str, table: Floats) -> Floats:
    """Return the sums over the last axis. ValueError: one is above 1, or an entry is negative or NaN."""
    invalid = ~(table >= 0)
    if invalid.any():
        raise ValueError(f"{name}{first_index(invalid)} must be a probability, got {table[invalid][0]:g}")
    mass: Floats = table.sum(-1)
    above = mass > 1 + MASS_TOLERANCE
    if above.any():
        raise ValueError(f"{name}{first_index(above)} sums to {mass[above][0]:.10g}, which is above 1")
    return mass


def first_index(invalid: NDArray[np.bool_]) -> str:
    """Return the index of the first True entry as text, such as `[2, 0]`."""
    return str(np.argwhere(invalid)[0].tolist())


def find_nonterminating_states(transitions: Floats) -> list[int]:
    """Return the states from which some policy never terminates: the largest set that a policy can stay in forever.

    A state is removed when each of its actions leaves the set or ends the episode with some probability.
    """
    inside = np.ones(len(transitions), dtype=bool)
    full_mass = transitions.sum(-1) >= 1 - MASS_TOLERANCE
    while True:
        stays = full_mass & (transitions[..., ~inside].sum(-1) == 0)
        if (remaining := inside & stays.any(1)).sum() == inside.sum():
            return np.flatnonzero(inside).tolist()
        inside = remaining


def find_reachable_states(transitions: Floats, start: Floats) -> NDArray[np.bool_]:
    """Return a mask [S] of the states that some policy reaches from the initial ones."""
    adjacent = transitions.sum(1) > 0
    reached = start > 0
    while (grown := reached | adjacent[reached].any(0)).sum() > reached.sum():
        reached = grown
    return reached
