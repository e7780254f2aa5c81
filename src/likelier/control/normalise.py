"""Running mean and variance of observations, and the scale of rewards."""

from collections.abc import Mapping

import numpy as np

from likelier.config import GymConfig
from likelier.control.spaces import Array, ObservationEncoder

EPS = 1e-8
LIMIT = 10.0
"""Normalized values are clipped to [-LIMIT, LIMIT]."""


class RunningMoments:
    """Running mean and population variance per element, merged batch by batch (Chan, Golub & LeVeque 1983).

    `ScoreMoments` (rlhf/scores.py) is similar, but stores the sum of squares instead of the variance. Both are in
    checkpoints and round differently, so sharing one class would change the bits of resumed runs.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 0.0

    def update(self, x: Array) -> None:
        """Merge the rows of `x`."""
        num, mean, var = len(x), x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)
        total = self.count + num
        delta = mean - self.mean
        squares = self.var * self.count + var * num + np.square(delta) * self.count * num / total
        self.mean = self.mean + delta * num / total
        self.var, self.count = squares / total, total

    def normalize(self, x: Array) -> Array:
        """clip((x - mean) / sqrt(var + eps), -LIMIT, LIMIT), in float32."""
        scaled = (x - self.mean) / np.sqrt(self.var + EPS)
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        return {"mean": self.mean, "var": self.var, "count": np.array(self.count)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        self.mean, self.var, self.count = state["mean"], state["var"], float(state["count"])


def make_observation_moments(observations: ObservationEncoder, config: GymConfig) -> RunningMoments | None:
    """Moments for vector observations if `normalize_observations`; images are only divided by 255."""
    return RunningMoments(observations.shape) if config.normalize_observations and not observations.image else None


class RewardScale:
    """Divides rewards by the standard deviation of the running discounted return (Engstrom et al. 2020).

    The divisor is at least a fifth of the return's mean: otherwise rewards that hardly vary, such as 4.6 and 5 stars,
    would be scaled beyond the limit and all be clipped to the same number.
    """

    def __init__(self, num_envs: int, gamma: float) -> None:
        self.gamma, self.moments, self.running = gamma, RunningMoments(), np.zeros(num_envs)

    def scale(self, rewards: Array, done: Array) -> Array:
        """Update the scale with rewards `[T, N]` and episode ends `[T, N]`; returns the scaled rewards."""
        returns = np.empty_like(rewards)
        for t, (reward, end) in enumerate(zip(rewards, done, strict=True)):
            returns[t] = self.running = self.running * self.gamma + reward
            self.running = np.where(end, 0.0, self.running)
        self.moments.update(returns.reshape(-1))
        unit = max(float(np.sqrt(self.moments.var)), 2 * abs(float(self.moments.mean)) / LIMIT)
        return np.clip(rewards / unit, -LIMIT, LIMIT) if unit else rewards

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        return self.moments.state() | {"running": self.running}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        self.moments.restore(state)
        self.running = state["running"]
