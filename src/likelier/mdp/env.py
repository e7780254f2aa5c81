"""A tabular MDP as a Gymnasium environment: an agent learns from samples what is also known exactly."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import ArrayLike

from likelier.mdp.exact import TabularMDP


class MDPEnv(gymnasium.Env[np.int64, np.int64]):
    """Observations are state numbers.

    `start` [S]: where episodes begin; uniform by default. An episode terminates with the missing mass of a row, on
    arrival where neither a reward nor a next state is left, and after the MDP's horizon; it is truncated after
    `max_steps`. The observation of a last step without a next state is the state it was taken in.
    """

    def __init__(self, mdp: TabularMDP, start: ArrayLike | None = None, max_steps: int | None = None) -> None:
        num_states, num_actions = mdp.rewards.shape
        self.mdp, self.max_steps = mdp, max_steps
        self.start = np.full(num_states, 1 / num_states) if start is None else np.asarray(start, dtype=np.float64)
        self.over = [not (p.any() or r.any()) for p, r in zip(mdp.transitions, mdp.rewards, strict=True)]
        self.observation_space = Discrete(num_states)
        self.action_space = Discrete(num_actions)
        self.state, self.steps = np.int64(0), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = np.int64(self.np_random.choice(len(self.start), p=self.start))
        self.steps = 0
        return self.state, {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        reward = float(self.mdp.rewards[self.state, action])
        following = self.mdp.sample(np.array([self.state]), np.array([action]), self.np_random)[0]
        self.steps += 1
        terminated = following == len(self.over) or self.over[following] or self.steps == self.mdp.horizon
        if following < len(self.over):
            self.state = following
        truncated = not terminated and self.steps == self.max_steps
        return self.state, reward, bool(terminated), bool(truncated), {}
