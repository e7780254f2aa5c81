"""A tabular MDP as a Gymnasium environment, to compare agents with the exact solution."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import ArrayLike

from likelier.mdp.exact import TabularMDP


class MDPEnv(gymnasium.Env[np.int64, np.int64]):
    """A tabular MDP whose observations are state numbers.

    `start` [S]: initial state distribution; uniform by default. An episode terminates with the missing mass of a row,
    on reaching a state without rewards and transitions, and after the MDP's horizon; it is truncated after `max_steps`.
    If the last step has no next state, its observation repeats the current state.
    """

    def __init__(self, mdp: TabularMDP, start: ArrayLike | None = None, max_steps: int | None = None) -> None:
        num_states, num_actions = mdp.rewards.shape
        self.mdp, self.max_steps = mdp, max_steps
        self.start = np.full(num_states, 1 / num_states) if start is None else np.asarray(start, dtype=np.float64)
        self.is_terminal = [not (p.any() or r.any()) for p, r in zip(mdp.transitions, mdp.rewards, strict=True)]
        self.observation_space = Discrete(num_states)
        self.action_space = Discrete(num_actions)
        self.state = np.int64(0)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Draw an initial state from `start`; a `seed` reseeds the generator."""
        super().reset(seed=seed)
        self.state = np.int64(self.np_random.choice(len(self.start), p=self.start))
        self.steps = 0
        return self.state, {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Take one step; returns (state, reward, terminated, truncated, {})."""
        reward = float(self.mdp.rewards[self.state, action])
        next_state = self.mdp.sample(np.array([self.state]), np.array([action]), self.np_random)[0]
        self.steps += 1
        terminated = (
            next_state == len(self.is_terminal) or self.is_terminal[next_state] or self.steps == self.mdp.horizon
        )
        if next_state < len(self.is_terminal):
            self.state = next_state
        truncated = not terminated and self.steps == self.max_steps
        return self.state, reward, bool(terminated), bool(truncated), {}
