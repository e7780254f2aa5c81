"""Running mean and variance of observations, and the scale of rewards."""

from collections.abc import Mapping

import numpy as np

from likelier.config import GymConfig
from likelier.control.spaces import Array, Observations

EPS = 1e-8
LIMIT = 10.0
"""Normalised numbers stay within this."""


class Moments:
    """Mean and population variance of all numbers seen so far, per place (Chan et al. 1983: sums of parts add up)."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 0.0

    def update(self, x: Array) -> None:
        """Take in the rows of `x`."""
        num, mean, var = len(x), x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)
        total = self.count + num
        delta = mean - self.mean
        squares = self.var * self.count + var * num + np.square(delta) * self.count * num / total
        self.mean = self.mean + delta * num / total
        self.var, self.count = squares / total, total

    def normalised(self, x: Array) -> Array:
        """(x - mean) / sqrt(var + eps), within the limit."""
        scaled = (x - self.mean) / np.sqrt(self.var + EPS)
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)

    def state(self) -> dict[str, Array]:
        return {"mean": self.mean, "var": self.var, "count": np.array(self.count)}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.mean, self.var, self.count = state["mean"], state["var"], float(state["count"])


def moments_of(observations: Observations, config: GymConfig) -> Moments | None:
    """Of vectors, where they are to be normalised; an image is divided by 255 and that is all."""
    return Moments(observations.shape) if config.normalize_observations and not observations.image else None


class RewardScale:
    """Divides rewards by the standard deviation of the running discounted return (Engstrom et al. 2020).

    By a fifth of that return's mean where this is more: else what is nearly the same everywhere, such as ratings of 4.6
    and 5 stars or a reward that never ends, would come out as large numbers, and beyond the limit as one and the same.
    """

    def __init__(self, num_envs: int, gamma: float) -> None:
        self.gamma, self.moments, self.running = gamma, Moments(), np.zeros(num_envs)

    def scaled(self, rewards: Array, ended: Array) -> Array:
        """Take in `[T, N]` rewards, and where an episode ended; the same rewards in that unit, within the limit."""
        returns = np.empty_like(rewards)
        for t, (reward, end) in enumerate(zip(rewards, ended, strict=True)):
            returns[t] = self.running = self.running * self.gamma + reward
            self.running = np.where(end, 0.0, self.running)
        self.moments.update(returns.reshape(-1))
        unit = max(float(np.sqrt(self.moments.var)), 2 * abs(float(self.moments.mean)) / LIMIT)
        return np.clip(rewards / unit, -LIMIT, LIMIT) if unit else rewards

    def state(self) -> dict[str, Array]:
        return self.moments.state() | {"running": self.running}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.moments.restore(state)
        self.running = state["running"]
