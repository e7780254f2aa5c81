"""Rollouts: step the environments, compute advantages, and build the batch of one PPO update."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likelier.config import GymConfig
from likelier.control.envs import VectorEnv
from likelier.control.nets import ActorCritic
from likelier.control.normalise import RewardScale, RunningMoments
from likelier.control.spaces import Array
from likelier.ppo.advantages import gae
from likelier.ppo.batch import Batch
from likelier.ppo.masks import masked_whiten
from likelier.ppo.policy import evaluate_old_policy
from likelier.training.setup import Clock

NUM_RETURNS = 100
"""`mean_return` averages this many of the most recently finished episodes."""


class Episodes:
    """Returns and lengths of the most recent episodes: undiscounted, with unnormalised rewards."""

    def __init__(self, num_envs: int) -> None:
        self.count = 0
        self.running = np.zeros((2, num_envs))
        self.last: deque[tuple[float, float]] = deque(maxlen=NUM_RETURNS)

    def add(self, rewards: Array, done: Array) -> None:
        """Record one step of every environment."""
        self.running[0] += rewards
        self.running[1] += 1
        for index in np.flatnonzero(done):
            self.last.append((float(self.running[0, index]), float(self.running[1, index])))
            self.running[:, index] = 0.0
            self.count += 1

    def stats(self) -> dict[str, float]:
        """Episode count, mean return and mean length; NaN (null in the log) until an episode has ended."""
        mean_return, mean_length = np.mean(self.last, axis=0).tolist() if self.last else (np.nan, np.nan)
        return {"episodes": self.count, "mean_return": mean_return, "episode_length": mean_length}

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        last = np.array(self.last).reshape(-1, 2)
        return {"count": np.array(self.count), "running": self.running, "last": last}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        self.count, self.running = int(state["count"]), state["running"]
        self.last.extend((float(total), float(length)) for total, length in state["last"])


@runtime_checkable
class Checkpointable(Protocol):
    """State that a checkpoint saves and restores as named arrays."""

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""


class Memories:
    """State of a recurrent policy in each environment, `[N, numbers]`."""

    def __init__(self, states: Array) -> None:
        self.states = states

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        return {"states": self.states}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        self.states = state["states"]


@dataclass
class EnvState:
    """The environments and all state that persists between rollouts."""

    vector_env: VectorEnv
    episodes: Episodes
    observation_moments: RunningMoments | None
    reward_scale: RewardScale | None
    memories: "Memories"

    def normalize(self, observations: Array) -> Array:
        """Normalise observations for the policy, if `normalize_observations`."""
        moments = self.observation_moments
        return observations if moments is None else moments.normalize(observations)

    def parts(self) -> dict[str, "Checkpointable"]:
        """The checkpointed parts, by their names in the file (kept from older versions)."""
        parts: dict[str, Checkpointable | None] = {"fleet": self.vector_env, "episodes": self.episodes}
        parts |= {"observations": self.observation_moments, "rewards": self.reward_scale}
        parts |= {"memories": self.memories if self.memories.states.size else None}
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict[str, Array]:
        """Arrays named `part/array`."""
        return {f"{name}/{key}": array for name, part in self.parts().items() for key, array in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        for name, part in self.parts().items():
            part.restore({key.removeprefix(f"{name}/"): array for key, array in state.items() if key.startswith(name)})


@dataclass
class Experience:
    """One rollout, `[T, N, ...]`: T steps of N environments."""

    seen: Array
    """Observations as the environment gave them."""
    observations: Array
    """The same as the policy saw them."""
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array
    first_states: Array
    """State of a recurrent policy at the first step, `[N, numbers]`."""
    final: dict[tuple[int, int], tuple[Array, Array]] = field(default_factory=dict)
    """Final observation of each truncated episode, as the policy sees it, and its state, by (step, environment)."""


class Rows(NamedTuple):
    """How the steps of a rollout are laid out as rows of a batch."""

    inputs: dict[str, Tensor]
    order: Int[Tensor, " M"] | None
    """Of single steps, out of the rollout's T x N; None: a row is the whole rollout of one environment."""

    def pack(self, x: Shaped[Tensor, "T N ..."]) -> Shaped[Tensor, "B L ..."]:
        """Lay steps out as rows."""
        return x.transpose(0, 1).contiguous() if self.order is None else x.flatten(0, 1)[self.order, None]

    def unpack(self, x: Float[Tensor, "B L"], num_envs: int) -> Float[Tensor, "T N"]:
        """Undo `pack`."""
        if self.order is None:
            return x.T.contiguous()
        in_time = torch.empty_like(x)
        in_time[self.order] = x
        return in_time.view(-1, num_envs)


def step_rows(experience: Experience, generator: torch.Generator) -> Rows:
    """Rows of single steps, shuffled here, since the first epoch of the update keeps their order."""
    # Steps of one trajectory are correlated: shuffled, each minibatch is a sample of the whole rollout.
    order = torch.randperm(experience.rewards.size, generator=generator, device=generator.device)
    observations = torch.from_numpy(experience.observations).to(generator.device)
    return Rows({"observations": observations.flatten(0, 1)[order]}, order)


def sequence_rows(experience: Experience, device: torch.device) -> Rows:
    """Rows of whole rollouts: a recurrent policy reads them in time, from the state in which each began."""
    ended = experience.terminated | experience.truncated
    # Not the first step: where an episode ended just before it, its state is already 0.
    starts = np.concatenate([np.zeros_like(ended[:1]), ended[:-1]])
    arrays = {"observations": experience.observations.swapaxes(0, 1), "starts": starts.T}
    arrays |= {"state": experience.first_states}
    return Rows({name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}, None)


def sample_rollout(
    policy: ActorCritic,
    env_state: EnvState,
    config: GymConfig,
    generator: torch.Generator,
    clock: Clock,
    learned: Callable[[Experience], Array] | None = None,
) -> Batch:
    """Step every environment `rollout_length` times; returns a batch whose rows are single steps in random order, or
    the rollout of one environment each for a recurrent policy. `learned` gives rewards `[T, N]` in place of the
    environment's.
    """
    # Acting runs in numpy, learning in PyTorch: both would differ in the last bit, so the trainer computes its own
    # old log-probabilities below, and the first ratio is exactly 1.
    experience = take_steps(policy, env_state, config, generator)
    clock.lap("sample")
    if learned is not None:
        experience = replace(experience, rewards=learned(experience))
        clock.lap("preferences")

    device, num_envs = generator.device, experience.rewards.shape[1]
    rows = sequence_rows(experience, device) if config.recurrent else step_rows(experience, generator)
    actions = rows.pack(torch.from_numpy(experience.actions).to(device))
    mask = torch.ones(actions.shape[:2], dtype=torch.bool, device=device)
    old = evaluate_old_policy(policy, rows.inputs, actions, mask, config)
    assert old.values is not None, "an actor-critic has values"
    clock.lap("old_logprobs")

    # Values come back as rows; GAE needs them in time.
    values = rows.unpack(old.values, num_envs)
    advantages, returns = map(rows.pack, compute_advantages(policy, env_state, experience, values, config))
    if config.whiten_advantages:
        # By the batch, not by the minibatch as Stable-Baselines3 does: an advantage is then the same in every epoch.
        advantages = masked_whiten(advantages, mask)
    return Batch(rows.inputs, actions, mask, old.logprobs, old.values, advantages, returns)


def take_steps(policy: ActorCritic, env_state: EnvState, config: GymConfig, generator: torch.Generator) -> Experience:
    """Act in every environment for `rollout_length` steps and record the experience."""
    vector_env, moments = env_state.vector_env, env_state.observation_moments
    shape = (config.rollout_length, config.num_envs)
    # All noise of a rollout at once: what is drawn does not depend on how long episodes are.
    act, noise = policy.actor(), policy.distribution.noise(shape, generator)
    memories, first_states = env_state.memories, env_state.memories.states
    seen, observed, acted, steps, final = [], [], [], [], {}
    for t in range(config.rollout_length):
        if moments is not None:
            # Before acting: the first observation is already normalized by what was seen, itself included.
            moments.update(vector_env.observations)
        seen.append(vector_env.observations.copy())
        observations = env_state.normalize(seen[-1])
        actions, states = act(observations, noise[t], memories.states)
        step = vector_env.step(actions)
        env_state.episodes.add(step.rewards, step.terminated | step.truncated)
        observed.append(observations)
        acted.append(actions)
        steps.append(step)
        # Autoreset hides the final observation of a truncated episode; its value is needed to bootstrap.
        for index, observation in step.final.items():
            if not step.terminated[index]:
                final[t, index] = env_state.normalize(observation), states[index]
        # Nothing is carried into a new episode.
        memories.states = np.where((step.terminated | step.truncated)[:, None], np.float32(0.0), states)
    rewards, terminated, truncated = (np.stack(column) for column in list(zip(*steps, strict=True))[:3])
    return Experience(
        np.stack(seen), np.stack(observed), np.stack(acted), rewards, terminated, truncated, first_states, final
    )


def compute_advantages(
    policy: ActorCritic, env_state: EnvState, experience: Experience, values: Float[Tensor, "T N"], config: GymConfig
) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
    """GAE advantages and returns, `[T, N]`. The value after the last step is 0 where the episode terminated and V(final
    observation) where it was truncated: a time limit is no property of the state (Pardo et al. 2018).
    """
    ended = experience.terminated | experience.truncated
    # Episodes log the raw rewards; only what the critic has to fit is scaled.
    raw_rewards = experience.rewards
    if env_state.reward_scale is not None:
        raw_rewards = env_state.reward_scale.scale(raw_rewards, ended)
    rewards, continues = (torch.from_numpy(x).to(values) for x in (raw_rewards, ~ended))

    final_observations, final_states = zip(*experience.final.values(), strict=True) if experience.final else ((), ())
    observations = np.stack([*env_state.normalize(env_state.vector_env.observations), *final_observations])
    states = np.stack([*env_state.memories.states, *final_states])
    bootstrap_values = policy.values(*(torch.from_numpy(x).to(values.device) for x in (observations, states)))
    # A terminated episode is worth 0 from here on; a truncated one is looked up among the final observations below.
    next_values = torch.cat([values[1:], bootstrap_values[None, : values.shape[1]]]) * continues
    for (t, index), value in zip(experience.final, bootstrap_values[values.shape[1] :], strict=True):
        next_values[t, index] = value
    advantages, returns = gae(rewards.T, values.T, next_values.T, continues.T, config.gamma, config.lam)
    return advantages.T, returns.T
