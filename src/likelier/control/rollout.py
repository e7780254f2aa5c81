"""Rollouts: steps of every copy of an environment, rewards to advantages, all of it to the batch of one PPO update."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import GymConfig
from likelier.control.envs import VectorEnv
from likelier.control.nets import ActorCritic
from likelier.control.normalise import Moments, RewardScale
from likelier.control.spaces import Array
from likelier.ppo.advantages import gae
from likelier.ppo.batch import Batch
from likelier.ppo.masks import masked_whiten
from likelier.ppo.update import old_evaluation
from likelier.training.setup import Clock

NUM_RETURNS = 100
"""The mean return is of so many episodes, the last that ended."""


class Episodes:
    """Returns and lengths of the last episodes, undiscounted and as the environment gives them."""

    def __init__(self, num_envs: int) -> None:
        self.count = 0
        self.running = np.zeros((2, num_envs))
        self.last: deque[tuple[float, float]] = deque(maxlen=NUM_RETURNS)

    def add(self, rewards: Array, ended: Array) -> None:
        """One step of every copy."""
        self.running[0] += rewards
        self.running[1] += 1
        for index in np.flatnonzero(ended):
            self.last.append((float(self.running[0, index]), float(self.running[1, index])))
            self.running[:, index] = 0.0
            self.count += 1

    def stats(self) -> dict[str, float]:
        """NaN, which becomes null, before an episode has ended."""
        mean_return, mean_length = np.mean(self.last, axis=0).tolist() if self.last else (np.nan, np.nan)
        return {"episodes": self.count, "mean_return": mean_return, "episode_length": mean_length}

    def state(self) -> dict[str, Array]:
        last = np.array(self.last).reshape(-1, 2)
        return {"count": np.array(self.count), "running": self.running, "last": last}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.count, self.running = int(state["count"]), state["running"]
        self.last.extend((float(total), float(length)) for total, length in state["last"])


@runtime_checkable
class Checkpointable(Protocol):
    """What can be written down and taken up again."""

    def state(self) -> dict[str, Array]: ...
    def restore(self, state: Mapping[str, Array]) -> None: ...


@dataclass
class EnvState:
    """The environments and what is remembered of them between rollouts."""

    vector_env: VectorEnv
    episodes: Episodes
    observation_moments: Moments | None
    reward_scale: RewardScale | None

    def seen(self, observations: Array) -> Array:
        """Observations as the policy sees them."""
        moments = self.observation_moments
        return observations if moments is None else moments.normalised(observations)

    def parts(self) -> dict[str, "Checkpointable"]:
        """What a checkpoint keeps of it."""
        found: dict[str, Checkpointable | None] = {"fleet": self.vector_env, "episodes": self.episodes}
        found |= {"observations": self.observation_moments, "rewards": self.reward_scale}
        return {name: part for name, part in found.items() if part is not None}

    def state(self) -> dict[str, Array]:
        """Arrays named `part/array`."""
        return {f"{name}/{key}": array for name, part in self.parts().items() for key, array in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        for name, part in self.parts().items():
            part.restore({key.removeprefix(f"{name}/"): array for key, array in state.items() if key.startswith(name)})


@dataclass
class Experience:
    """What the steps of one rollout showed, `[T, N, ...]`."""

    observations: Array
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array
    final: dict[tuple[int, int], Array] = field(default_factory=dict)
    """Last observation of each truncated episode, as the policy sees it, by step and copy."""


def sample_rollout(
    policy: ActorCritic, env_state: EnvState, config: GymConfig, generator: torch.Generator, clock: Clock
) -> Batch:
    """`rollout_length` steps of every copy, as one batch whose rows are single steps.

    Rows are in random order, so that the update's first pass, which takes them as they come, is shuffled too.
    """
    experience = take_steps(policy, env_state, config, generator)
    clock.lap("sample")

    device = generator.device
    steps, num_envs = experience.rewards.shape
    order = torch.randperm(steps * num_envs, generator=generator, device=device)
    inputs = {"observations": torch.from_numpy(experience.observations).to(device).flatten(0, 1)[order]}
    actions = torch.from_numpy(experience.actions).to(device).flatten(0, 1)[order, None]
    mask = torch.ones(len(order), 1, dtype=torch.bool, device=device)
    old = old_evaluation(policy, inputs, actions, mask, config)
    assert old.values is not None, "an actor-critic has values"
    clock.lap("old_logprobs")

    values = torch.empty_like(old.values)
    values[order] = old.values
    advantages, returns = advantages_of(policy, env_state, experience, values.view(steps, num_envs), config)
    advantages, returns = (x.flatten()[order, None] for x in (advantages, returns))
    if config.whiten_advantages:
        advantages = masked_whiten(advantages, mask)
    return Batch(inputs, actions, mask, old.logprobs, old.values, advantages, returns)


def take_steps(policy: ActorCritic, env_state: EnvState, config: GymConfig, generator: torch.Generator) -> Experience:
    """Act, step, remember."""
    vector_env, moments = env_state.vector_env, env_state.observation_moments
    shape = (config.rollout_length, config.num_envs)
    act, noise = policy.actor(), policy.distribution.noise(shape, generator)
    seen, chosen, steps, final = [], [], [], {}
    for t in range(config.rollout_length):
        if moments is not None:
            moments.update(vector_env.observations)
        observations = env_state.seen(vector_env.observations).copy()
        actions = act(observations, noise[t])
        step = vector_env.step(actions)
        env_state.episodes.add(step.rewards, step.terminated | step.truncated)
        seen.append(observations)
        chosen.append(actions)
        steps.append(step)
        for index, observation in step.final.items():
            if not step.terminated[index]:
                final[t, index] = env_state.seen(observation)
    rewards, terminated, truncated = (np.stack(each) for each in list(zip(*steps, strict=True))[:3])
    return Experience(np.stack(seen), np.stack(chosen), rewards, terminated, truncated, final)


def advantages_of(
    policy: ActorCritic, env_state: EnvState, experience: Experience, values: Float[Tensor, "T N"], config: GymConfig
) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
    """Advantages and returns; the episode's end is worth 0 where it terminated, V(final state) where it was cut."""
    ended = experience.terminated | experience.truncated
    earned = experience.rewards
    if env_state.reward_scale is not None:
        earned = env_state.reward_scale.scaled(earned, ended)
    rewards, continues = (torch.from_numpy(x).to(values) for x in (earned, ~ended))

    ahead = np.stack([*env_state.seen(env_state.vector_env.observations), *experience.final.values()])
    ahead_values = policy.values(torch.from_numpy(ahead).to(values.device))
    next_values = torch.cat([values[1:], ahead_values[None, : values.shape[1]]]) * continues
    for (t, index), value in zip(experience.final, ahead_values[values.shape[1] :], strict=True):
        next_values[t, index] = value
    advantages, returns = gae(rewards.T, values.T, next_values.T, continues.T, config.gamma, config.lam)
    return advantages.T, returns.T
