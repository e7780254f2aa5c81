"""Tabular MDPs, solved exactly: small enough that what an algorithm should find is known to the last digit."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MASS_TOLERANCE = 1e-9
"""Probabilities written as decimals add up to 1 within this."""
MAX_ENDLESS_GAMMA = 1 - 1e-12
"""Above this the values of an endless policy are lost in rounding; at 1 they may be infinite."""
TIE_TOLERANCE = 1e-12
"""Actions this close, relative to the numbers that were added up for them, are equally good: the rest is rounding."""


class TabularMDP:
    """States 0 to S-1, actions 0 to A-1, known probabilities and rewards; immutable.

    `transitions` [S, A, S]: rows sum to at most 1, the missing mass ends the episode. `rewards` [S, A]: expected reward
    of an action. With a `horizon`, episodes also end after so many steps, and values are those with all steps to go.
    ValueError: a row above 1 + 1e-9, a negative entry or one that is not finite, shapes that do not fit, gamma outside
    0 to 1, gamma = 1 without horizon where some policy never ends.
    """

    def __init__(self, transitions: ArrayLike, rewards: ArrayLike, gamma: float, horizon: int | None = None) -> None:
        self.transitions, self.rewards = checked_tables(transitions, rewards)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be between 0 and 1, got {gamma}")
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}")
        self.gamma, self.horizon = float(gamma), horizon
        if gamma > MAX_ENDLESS_GAMMA and horizon is None and (endless := endless_states(self.transitions)):
            raise ValueError(
                f"gamma is {gamma:g}, but from state {endless[0]} some policy never ends and may be worth "
                "infinitely much; lower gamma, or let every action end the episode with some probability"
            )

    def policy_values(self, policy: ArrayLike) -> Floats:
        """[S]: V = r_pi + gamma P_pi V, solved as a linear system (Puterman 1994, theorem 6.1.1).

        `policy` [S, A]: probabilities of actions; missing mass ends the episode. ValueError: a row above 1 + 1e-9 or
        a negative entry.
        """
        chosen = checked_policy(policy, self.rewards.shape)
        rewards = (chosen * self.rewards).sum(1)
        transitions = np.einsum("sa,sat->st", chosen, self.transitions)
        if self.horizon is None:
            return np.linalg.solve(np.eye(len(rewards)) - self.gamma * transitions, rewards)
        values = np.zeros(len(rewards))
        for _ in range(self.horizon):
            values = rewards + self.gamma * transitions @ values
        return values

    def optimal_values(self) -> Floats:
        """[S]: the largest value that any policy has."""
        return self.optimum()[0]

    def optimal_policy(self) -> Floats:
        """[S, A], one-hot: the best action in each state, ties to the lowest; with a horizon, in the first step."""
        return np.asarray(self.plan()[0])

    def plan(self) -> Floats:
        """[H, S, A], one-hot: the best action at each step of the horizon; a single step where there is none."""
        return np.eye(self.rewards.shape[1])[self.optimum()[1]]

    def optimum(self) -> tuple[Floats, Ints]:
        """Optimal values [S] and actions [H, S]."""
        return policy_iteration(self) if self.horizon is None else backward_induction(self, self.horizon)

    def unrolled(self) -> "TabularMDP":
        """The same without a horizon, for what knows only states: state h * S + s is s after h steps."""
        if self.horizon is None:
            return self
        num_states, num_actions = self.rewards.shape
        size = self.horizon * num_states
        transitions = np.zeros((size, num_actions, size))
        for here in range(0, size - num_states, num_states):
            there = here + num_states
            transitions[here:there, :, there : there + num_states] = self.transitions
        return TabularMDP(transitions, np.tile(self.rewards, (self.horizon, 1)), self.gamma)

    def indifferent(self) -> NDArray[np.bool_]:
        """[S]: where every action pays the same and leads to the same states, so that none is the best."""
        alike = (self.transitions == self.transitions[:, :1]).all((1, 2))
        return np.asarray(alike & (self.rewards == self.rewards[:, :1]).all(1))

    def action_values(self, values: Floats) -> Floats:
        """[S, A]: Q(s, a) = r(s, a) + gamma * sum over t of p(t | s, a) V(t)."""
        return self.rewards + self.gamma * self.transitions @ values

    def best_actions(self, values: Floats) -> Ints:
        """[S]: the lowest of the actions that are best if `values` come next."""
        q = self.action_values(values)
        good = q >= q.max(1, keepdims=True) - self.slack(values)[:, None]
        return np.asarray(good.argmax(1), dtype=np.int64)

    def slack(self, values: Floats) -> Floats:
        """[S]: how far apart equal action values may come out, by the size of what is added up for them."""
        added_up = abs(self.rewards) + self.gamma * self.transitions @ abs(values)
        return np.asarray(TIE_TOLERANCE * added_up.max(1))

    @cached_property
    def cumulative(self) -> Floats:
        """[S, A, S]: running sums of each row, to draw from."""
        return np.cumsum(self.transitions, axis=-1)

    def sample(self, states: Ints, actions: Ints, generator: np.random.Generator) -> Ints:
        """[N]: a next state of each (state, action); S where the episode ends."""
        drawn = generator.random(len(states))
        passed = drawn[:, None] >= self.cumulative[states, actions]
        return np.asarray(passed.sum(1), dtype=np.int64)

    def value_iteration(self, sweeps: int, change: float = 0.0) -> list[Floats]:
        """V_0 = 0, V_k = max_a Q(V_{k-1}): at most `sweeps`, until one changes no value by more than `change`."""
        found = [np.zeros(len(self.rewards))]
        while len(found) <= sweeps:
            found.append(self.action_values(found[-1]).max(1))
            if abs(found[-1] - found[-2]).max() <= change:
                break
        return found


def policy_iteration(mdp: TabularMDP) -> tuple[Floats, Ints]:
    """Evaluate, act greedily, repeat until nothing gets better (Howard 1960).

    An action changes only for a gain that is more than rounding, and a policy seen before ends it: so it ends always.
    """
    num_states, num_actions = mdp.rewards.shape
    actions = mdp.best_actions(np.zeros(num_states))
    seen = set()
    while True:
        seen.add(actions.tobytes())
        values = mdp.policy_values(np.eye(num_actions)[actions])
        q = mdp.action_values(values)
        gain = q.max(1) - q[np.arange(num_states), actions]
        actions = np.where(gain > mdp.slack(values), q.argmax(1), actions)
        if actions.tobytes() in seen:
            return values, mdp.best_actions(values)[None]


def backward_induction(mdp: TabularMDP, horizon: int) -> tuple[Floats, Ints]:
    """From the last step, which has no future, to the first."""
    values, actions = np.zeros(len(mdp.rewards)), []
    for _ in range(horizon):
        actions.append(mdp.best_actions(values))
        values = mdp.action_values(values).max(1)
    return values, np.array(actions[::-1])


def checked_tables(transitions: ArrayLike, rewards: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 copies that cannot be written to, rows above 1 by mere rounding scaled to 1."""
    p, r = np.array(transitions, dtype=np.float64), np.array(rewards, dtype=np.float64)
    if r.ndim != 2 or not r.size or p.shape != (*r.shape, len(r)):
        raise ValueError(f"transitions must be [S, A, S] and rewards [S, A], got {p.shape} and {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError(f"rewards{place(~np.isfinite(r))} is not finite")
    mass = checked_mass("transitions", p)
    p /= np.maximum(mass, 1)[..., None]
    for table in (p, r):
        table.setflags(write=False)
    return p, r


def checked_policy(policy: ArrayLike, shape: tuple[int, ...]) -> Floats:
    table = np.array(policy, dtype=np.float64)
    if table.shape != shape:
        raise ValueError(f"a policy must be [S, A] = {list(shape)}, got {list(table.shape)}")
    checked_mass("policy", table)
    return table


def checked_mass(name: str, table: Floats) -> Floats:
    """Sums over the last axis. ValueError: one is above 1, or an entry is negative or not a number."""
    wrong = ~(table >= 0)
    if wrong.any():
        raise ValueError(f"{name}{place(wrong)} must be a probability, got {table[wrong][0]:g}")
    mass: Floats = table.sum(-1)
    above = mass > 1 + MASS_TOLERANCE
    if above.any():
        raise ValueError(f"{name}{place(above)} sums to {mass[above][0]:.10g}, which is above 1")
    return mass


def place(wrong: NDArray[np.bool_]) -> str:
    """`[2, 0]`: the first index where something is wrong."""
    return str(np.argwhere(wrong)[0].tolist())


def endless_states(transitions: Floats) -> list[int]:
    """States from which some policy never ends: the largest set that some action of each state never leaves.

    A state falls out when each of its actions ends the episode or leads out of the set with some probability.
    """
    inside = np.ones(len(transitions), dtype=bool)
    whole = transitions.sum(-1) >= 1 - MASS_TOLERANCE
    while True:
        stays = whole & (transitions[..., ~inside].sum(-1) == 0)
        if (left := inside & stays.any(1)).sum() == inside.sum():
            return np.flatnonzero(inside).tolist()
        inside = left


def reachable_states(transitions: Floats, start: Floats) -> NDArray[np.bool_]:
    """[S]: whether some policy gets there from where episodes start."""
    leads = transitions.sum(1) > 0
    reached = start > 0
    while (more := reached | leads[reached].any(0)).sum() > reached.sum():
        reached = more
    return reached
