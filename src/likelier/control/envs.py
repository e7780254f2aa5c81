"""Environments: made from a name, seeded by episode, checked at every step, stepped together."""

import hashlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import parse_env_id
from gymnasium.error import DependencyNotInstalled, DeprecatedEnv, UnregisteredEnv

from likelier.config import GymConfig
from likelier.control.spaces import Actions, Array, Observations, actions_of, observations_of
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError, DataError, LikelierError, Terminated
from likelier.userfile import brief, find_function

Env = gym.Env[Any, Any]
NUMBERS = float | int | np.floating | np.integer
BOOLS = bool | np.bool_
"""Unions are made once: at every step they would take as long as the checks."""
LARGEST = float(np.finfo(np.float32).max)
"""What a network can be given."""
MOST_HISTORY = 4096
"""Steps after which the actions of finished episodes are forgotten."""


class EnvError(LikelierError):
    """An environment that fails or breaks Gymnasium's rules. Exit code 1."""


def make_env(config: GymConfig, render: bool = False) -> Env:
    """One environment. ConfigError: no such id or file; EnvError: making it raises."""
    args = dict(config.env_args) | ({"render_mode": "rgb_array"} if render else {})
    path, colon, name = config.env_id.rpartition(":")
    try:
        if colon and path.endswith(".py"):
            env = find_function(config.env_id, "gym.env_id")(**args)
        else:
            look_at(name)
            if colon and os.getcwd() not in sys.path:
                sys.path.insert(0, os.getcwd())  # a console script does not look where the user stands
            with warnings.catch_warnings(record=True) as told:  # where it fails the error says all, in one line
                env = gym.make(config.env_id, disable_env_checker=True, **args)
            for each in told:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    except (UnregisteredEnv, DeprecatedEnv, DependencyNotInstalled, ModuleNotFoundError) as error:
        raise ConfigError(f"gym.env_id: {brief(error).partition(': ')[2]}") from error
    except (LikelierError, Terminated):
        raise
    except (Exception, SystemExit) as error:  # a user's environment may raise anything
        raise EnvError(f"{config.env_id}: making the environment raises {brief(error)}") from error
    if not isinstance(env, gym.Env):
        raise EnvError(f"{config.env_id}: what was made is a {type(env).__name__}, not a gymnasium.Env")
    for field in ("observation_space", "action_space"):
        if not isinstance(getattr(env, field, None), gym.Space):
            raise EnvError(f"{config.env_id}: {field} is not set; __init__ must make it a gymnasium.Space")
    if config.max_episode_steps is not None:
        return gym.wrappers.TimeLimit(env, config.max_episode_steps)
    return env


def look_at(name: str) -> None:
    """ConfigError: no environment can have this id."""
    if name.endswith(".py"):
        raise ConfigError(f"gym.env_id: {name!r} is a file; name what makes the environment in it: {name}:MyEnv")
    try:
        parse_env_id(name)
    except gym.error.Error as error:
        raise ConfigError(f"gym.env_id: {name!r} is no id; write one such as CartPole-v1, or module:Id-v0") from error


class Spaces(NamedTuple):
    """What all copies of an environment show and take."""

    observations: Observations
    actions: Actions


def spaces_of(env: Env, config: GymConfig) -> Spaces:
    """ConfigError: spaces that no network here can use."""
    observations = observations_of(env.observation_space, config.frame_stack, config.env_id)
    return Spaces(observations, actions_of(env.action_space, config.env_id))


class SubEnv:
    """One copy of an environment.

    Each episode is reset with a seed of its own, made from the run's seed, the copy and the episode; so an episode
    depends on its actions alone and can be played again.
    """

    def __init__(
        self, config: GymConfig, index: int, seed: int, purpose: str, watchdog: Watchdog, render: bool = False
    ) -> None:
        self.name, self.index, self.seed, self.purpose = config.env_id, index, seed, purpose
        self.watchdog = watchdog
        watchdog.start(f"{self.name}: making environment {index}")
        self.env = make_env(config, render)
        watchdog.stop()
        self.spaces = spaces_of(self.env, config)
        self.shape, self.dtype = self.env.observation_space.shape, self.env.observation_space.dtype
        self.stack = np.zeros((config.frame_stack, *self.single_shape()), self.spaces.observations.dtype)
        self.step_label = f"{self.name}: environment {index}: step"
        self.episode, self.length = -1, 0

    def single_shape(self) -> tuple[int, ...]:
        first, *rest = self.spaces.observations.shape
        return (first // self.spaces.observations.frame_stack, *rest)

    def reset(self) -> Array:
        """Start the next episode; its first observation, as the network sees it."""
        self.episode, self.length = self.episode + 1, 0
        seed = episode_seed(self.seed, self.purpose, self.index, self.episode)
        self.watchdog.start(self.where("reset"))
        try:
            found = self.env.reset(seed=seed)
        except (LikelierError, Terminated):
            raise
        except (Exception, SystemExit) as error:  # a user's environment may raise anything
            raise EnvError(f"{self.where('reset')} raises {brief(error)}") from error
        self.watchdog.stop()
        if not isinstance(found, tuple) or len(found) != 2:
            raise EnvError(f"{self.where('reset')} returned {described(found)}; return (observation, info)")
        if not isinstance(found[1], dict):
            raise EnvError(f"{self.where('reset')}: info is {described(found[1])}, not a dict")
        self.stack[:] = self.checked(found[0], "reset")
        return self.observation()

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        """Observation as the network sees it, reward, terminated, truncated."""
        self.length += 1
        self.watchdog.start(self.step_label)
        try:
            found = self.env.step(action)
        except (LikelierError, Terminated):
            raise
        except (Exception, SystemExit) as error:  # likewise
            raise EnvError(f"{self.where('step')} raises {brief(error)}") from error
        self.watchdog.stop()
        if not isinstance(found, tuple) or len(found) != 5:
            raise EnvError(
                f"{self.where('step')} returned {described(found)}; "
                "return (observation, reward, terminated, truncated, info)"
            )
        observation, reward, terminated, truncated, info = found
        if not isinstance(reward, NUMBERS) or not -LARGEST <= reward <= LARGEST:
            raise EnvError(f"{self.where('step')}: reward is {described(reward)}, not a finite number of 32 bits")
        for field, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, BOOLS):
                raise EnvError(f"{self.where('step')}: {field} is {described(value)}, not a bool")
        if not isinstance(info, dict):
            raise EnvError(f"{self.where('step')}: info is {described(info)}, not a dict")
        new = self.checked(observation, "step")
        if len(self.stack) > 1:
            self.stack[:-1] = self.stack[1:]
        self.stack[-1] = new
        return self.observation(), float(reward), bool(terminated), bool(truncated)

    def observation(self) -> Array:
        """Stacked frames side by side, oldest first. The array is written over by the next step."""
        return self.stack.reshape(self.spaces.observations.shape)

    def checked(self, observation: Any, call: str) -> Array:
        """As the network sees it. EnvError: not what the space promised, or not finite."""
        flaw = self.flaw_of(observation)
        if flaw:
            raise EnvError(f"{self.where(call)}: observation {flaw}")
        return self.spaces.observations.seen(observation)

    def flaw_of(self, observation: Any) -> str | None:
        """What is wrong with an observation."""
        if self.spaces.observations.flattens:
            space = self.env.observation_space
            if not space.contains(observation):
                return f"is {described(observation)}, not in {space}"
            return None if np.isfinite(self.spaces.observations.seen(observation)).all() else "holds inf or NaN"
        if not isinstance(observation, np.ndarray):
            return f"is {described(observation)}; return a numpy array"
        if observation.shape != self.shape:
            return f"has shape {observation.shape}, but the space says {self.shape}"
        if observation.dtype != self.dtype and not np.can_cast(observation.dtype, self.dtype or object):
            return f"has dtype {observation.dtype}, but the space says {self.dtype}"
        flat = observation.ravel()
        if self.spaces.observations.image or flat.dot(flat) < LARGEST:  # quick, but large numbers need a closer look
            return None
        wrong = np.flatnonzero(~(np.abs(flat) <= LARGEST))
        return f"holds {flat[wrong[0]]} at index {wrong[0]}" if len(wrong) else None

    def where(self, call: str) -> str:
        return f"{self.name}: environment {self.index}, episode {self.episode}, step {self.length}: {call}"


def described(value: Any) -> str:
    """What a value is, in a few words."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"


def episode_seed(seed: int, purpose: str, index: int, episode: int) -> int:
    """A seed that depends on these four and nothing else."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


class VectorEnv:
    """Copies stepped together. Where an episode ends, the next one begins in the same step: no step is a dummy.

    `observations` are those to act on next, of a fresh episode where one has just ended.
    """

    def __init__(self, config: GymConfig, seed: int, watchdog: Watchdog, purpose: str = "train") -> None:
        self.copies = [SubEnv(config, index, seed, purpose, watchdog) for index in range(config.num_envs)]
        self.spaces = self.copies[0].spaces
        self.history: list[Array] = []
        seen = self.spaces.observations
        self.observations = np.empty((config.num_envs, *seen.shape), seen.dtype)

    def __len__(self) -> int:
        return len(self.copies)

    def reset(self) -> None:
        """Start the first episode of each copy."""
        for index, copy in enumerate(self.copies):
            self.observations[index] = copy.reset()

    def step(self, actions: Array) -> "StepResult":
        """Take one action in each copy."""
        self.history.append(actions)
        num = len(self.copies)
        rewards, terminated, truncated = np.empty(num), np.zeros(num, bool), np.zeros(num, bool)
        final = {}
        for index, (copy, action) in enumerate(zip(self.copies, self.spaces.actions.to_env(actions), strict=True)):
            observation, rewards[index], terminated[index], truncated[index] = copy.step(action)
            if terminated[index] or truncated[index]:
                final[index] = observation.copy()
                observation = copy.reset()
            self.observations[index] = observation
        if final and len(self.history) > MOST_HISTORY:
            del self.history[: len(self.history) - max(copy.length for copy in self.copies)]
        return StepResult(rewards, terminated, truncated, final)

    def state(self) -> dict[str, Array]:
        """Where every copy stands: its episode, the actions taken in it, and what it shows."""
        history = np.stack(self.history)
        taken = [history[len(history) - copy.length :, index] for index, copy in enumerate(self.copies)]
        return {
            "episodes": np.array([copy.episode for copy in self.copies]),
            "lengths": np.array([copy.length for copy in self.copies]),
            "actions": np.concatenate(taken),
            "observations": self.observations.copy(),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Play every copy's episode again. DataError: one does not show what it showed, bit by bit."""
        lengths = state["lengths"].tolist()
        starts = np.cumsum([0, *lengths])
        for index, (copy, episode) in enumerate(zip(self.copies, state["episodes"].tolist(), strict=True)):
            copy.episode = episode - 1
            observation = copy.reset()
            taken = state["actions"][starts[index] : starts[index + 1]]
            for action in self.spaces.actions.to_env(taken) if len(taken) else ():
                observation = copy.step(action)[0]
            if observation.tobytes() != state["observations"][index].tobytes():
                raise DataError(
                    f"{copy.name}: environment {index}: episode {episode} played again does not show what it showed "
                    f"after {copy.length} steps; the environment depends on more than its seed and its actions"
                )
            self.observations[index] = observation
        self.history = replayed(state["actions"], lengths)

    def close(self) -> None:
        for copy in self.copies:
            copy.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class StepResult(NamedTuple):
    """What one step brought to each copy."""

    rewards: Array
    terminated: Array
    truncated: Array
    final: dict[int, Array]
    """Last observation of each episode that ended, by copy."""


def replayed(actions: Array, lengths: Sequence[int]) -> list[Array]:
    """The history that ends now, of episodes of these lengths; before an episode began anything may stand."""
    history = np.zeros((max(lengths), len(lengths), *actions.shape[1:]), actions.dtype)
    starts = np.cumsum([0, *lengths])
    for index, length in enumerate(lengths):
        if length:
            history[-length:, index] = actions[starts[index] : starts[index + 1]]
    return list(history)
