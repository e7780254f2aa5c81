"""Environments: created by id, seeded per episode, validated at every step, stepped as a vector."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import parse_env_id
from gymnasium.error import DependencyNotInstalled, DeprecatedEnv, UnregisteredEnv

from likelier.config import GymConfig
from likelier.control.spaces import (
    ActionDecoder,
    Array,
    ObservationEncoder,
    make_action_decoder,
    make_observation_encoder,
)
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError, DataError, LikelierError, Terminated
from likelier.mdp.env import MDPEnv
from likelier.mdp.file import read_mdp
from likelier.userfile import find_function, search_working_folder, summarise_error

Env = gym.Env[Any, Any]
NUMBER_TYPES = float | int | np.floating | np.integer
BOOL_TYPES = bool | np.bool_
"""Made once: building a union at every step would take as long as the checks."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Rewards and observations beyond float32 would become inf in the network."""
MAX_HISTORY = 4096
"""Length of the action history above which finished episodes are dropped from it."""


class EnvError(LikelierError):
    """An environment failed or violated Gymnasium's API. Exit code 1."""


def make_env(config: GymConfig, render: bool = False) -> Env:
    """Make one environment. ConfigError: no such id or file; EnvError: making it raises."""
    args = dict(config.env_args) | ({"render_mode": "rgb_array"} if render else {})
    try:
        env = build_env(config.env_id, args)
    except (UnregisteredEnv, DeprecatedEnv, DependencyNotInstalled, ModuleNotFoundError) as error:
        raise ConfigError(f"gym.env_id: {summarise_error(error).partition(': ')[2]}") from error
    except (LikelierError, Terminated):
        raise
    except (Exception, SystemExit) as error:  # a user's environment may raise anything
        raise EnvError(f"{config.env_id}: making the environment raises {summarise_error(error)}") from error
    if not isinstance(env, gym.Env):
        raise EnvError(f"{config.env_id}: what was made is a {type(env).__name__}, not a gymnasium.Env")
    for field in ("observation_space", "action_space"):
        if not isinstance(getattr(env, field, None), gym.Space):
            raise EnvError(f"{config.env_id}: {field} is not set; __init__ must make it a gymnasium.Space")
    if config.max_episode_steps is not None:
        return gym.wrappers.TimeLimit(env, config.max_episode_steps)
    return env


def build_env(env_id: str, args: Mapping[str, Any]) -> Env:
    """Create an environment by id: an MDP file, a function in a Python file, or a registered environment."""
    path, colon, name = env_id.rpartition(":")
    if env_id.endswith((".yaml", ".yml")):
        named = read_mdp(Path(env_id))
        return MDPEnv(named.mdp, named.start)
    if colon and path.endswith(".py"):
        env: Env = find_function(env_id, "gym.env_id")(**args)
        return env
    check_env_id(name)
    if colon:
        search_working_folder()
    with warnings.catch_warnings(record=True) as caught:  # if it fails, the error alone says so in one line
        env = gym.make(env_id, disable_env_checker=True, **args)
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return env


def check_env_id(name: str) -> None:
    """ConfigError: not a well-formed environment id."""
    if name.endswith(".py"):
        raise ConfigError(f"gym.env_id: {name!r} is a file; name what makes the environment in it: {name}:MyEnv")
    try:
        parse_env_id(name)
    except gym.error.Error as error:
        raise ConfigError(f"gym.env_id: {name!r} is no id; write one such as CartPole-v1, or module:Id-v0") from error


class Spaces(NamedTuple):
    """Encoder and decoder between an environment and the policy."""

    observations: ObservationEncoder
    actions: ActionDecoder


def make_spaces(env: Env, config: GymConfig) -> Spaces:
    """Make the encoder and decoder. ConfigError: an observation or action space that is not supported."""
    observations = make_observation_encoder(env.observation_space, config.frame_stack, config.env_id)
    return Spaces(observations, make_action_decoder(env.action_space, config.env_id))


class SubEnv:
    """One environment of a `VectorEnv`.

    Every episode is reset with its own seed, derived from the run's seed, the environment's index and the episode's
    number, so an episode depends on its actions alone and can be replayed when a run resumes.
    """

    def __init__(
        self, config: GymConfig, index: int, seed: int, purpose: str, watchdog: Watchdog, render: bool = False
    ) -> None:
        self.name, self.index, self.seed, self.purpose = config.env_id, index, seed, purpose
        self.watchdog = watchdog
        watchdog.start(f"{self.name}: making environment {index}")
        self.env = make_env(config, render)
        watchdog.stop()
        self.spaces = make_spaces(self.env, config)
        self.shape, self.dtype = self.env.observation_space.shape, self.env.observation_space.dtype
        self.stack = np.zeros((config.frame_stack, *self.single_shape()), self.spaces.observations.dtype)
        self.step_label = f"{self.name}: environment {index}: step"
        self.episode, self.length = -1, 0

    def single_shape(self) -> tuple[int, ...]:
        """Shape of one encoded observation, without frame stacking."""
        first, *others = self.spaces.observations.shape
        return (first // self.spaces.observations.frame_stack, *others)

    def reset(self) -> Array:
        """Start the next episode; returns its first observation, encoded."""
        self.episode, self.length = self.episode + 1, 0
        seed = episode_seed(self.seed, self.purpose, self.index, self.episode)
        self.watchdog.start(self.describe_call("reset"))
        try:
            result = self.env.reset(seed=seed)
        except (LikelierError, Terminated):
            raise
        except (Exception, SystemExit) as error:  # a user's environment may raise anything
            raise EnvError(f"{self.describe_call('reset')} raises {summarise_error(error)}") from error
        self.watchdog.stop()
        if not isinstance(result, tuple) or len(result) != 2:
            raise EnvError(f"{self.describe_call('reset')} returned {describe(result)}; return (observation, info)")
        if not isinstance(result[1], dict):
            raise EnvError(f"{self.describe_call('reset')}: info is {describe(result[1])}, not a dict")
        self.stack[:] = self.check_and_encode(result[0], "reset")
        return self.observation()

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        """Take one action; returns (encoded observation, reward, terminated, truncated)."""
        self.length += 1
        self.watchdog.start(self.step_label)
        try:
            result = self.env.step(action)
        except (LikelierError, Terminated):
            raise
        except (Exception, SystemExit) as error:  # likewise
            raise EnvError(f"{self.describe_call('step')} raises {summarise_error(error)}") from error
        self.watchdog.stop()
        if not isinstance(result, tuple) or len(result) != 5:
            raise EnvError(
                f"{self.describe_call('step')} returned {describe(result)}; "
                "return (observation, reward, terminated, truncated, info)"
            )
        observation, reward, terminated, truncated, info = result
        if not isinstance(reward, NUMBER_TYPES) or not -FLOAT32_MAX <= reward <= FLOAT32_MAX:
            raise EnvError(
                f"{self.describe_call('step')}: reward is {describe(reward)}, not a finite number of 32 bits"
            )
        for field, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, BOOL_TYPES):
                raise EnvError(f"{self.describe_call('step')}: {field} is {describe(value)}, not a bool")
        if not isinstance(info, dict):
            raise EnvError(f"{self.describe_call('step')}: info is {describe(info)}, not a dict")
        new = self.check_and_encode(observation, "step")
        if len(self.stack) > 1:
            self.stack[:-1] = self.stack[1:]
        self.stack[-1] = new
        return self.observation(), float(reward), bool(terminated), bool(truncated)

    def observation(self) -> Array:
        """The frame stack, oldest first. A view: the next step overwrites it."""
        return self.stack.reshape(self.spaces.observations.shape)

    def check_and_encode(self, observation: Any, call: str) -> Array:
        """Encode an observation. EnvError: it is not in the observation space, or not finite."""
        flaw = self.find_flaw(observation)
        if flaw:
            raise EnvError(f"{self.describe_call(call)}: observation {flaw}")
        return self.spaces.observations.encode(observation)

    def find_flaw(self, observation: Any) -> str | None:
        """Describe why an observation is invalid; None if it is valid."""
        if self.spaces.observations.flattens:
            space = self.env.observation_space
            if not space.contains(observation):
                return f"is {describe(observation)}, not in {space}"
            return None if np.isfinite(self.spaces.observations.encode(observation)).all() else "holds inf or NaN"
        if not isinstance(observation, np.ndarray):
            return f"is {describe(observation)}; return a numpy array"
        if observation.shape != self.shape:
            return f"has shape {observation.shape}, but the space says {self.shape}"
        if observation.dtype != self.dtype and not np.can_cast(observation.dtype, self.dtype or object):
            return f"has dtype {observation.dtype}, but the space says {self.dtype}"
        flat = observation.ravel()
        if (
            self.spaces.observations.image or flat.dot(flat) < FLOAT32_MAX
        ):  # quick, but large numbers need a closer look
            return None
        wrong = np.flatnonzero(~(np.abs(flat) <= FLOAT32_MAX))
        return f"holds {flat[wrong[0]]} at index {wrong[0]}" if len(wrong) else None

    def describe_call(self, call: str) -> str:
        """Name of the environment, episode and step, for error messages."""
        return f"{self.name}: environment {self.index}, episode {self.episode}, step {self.length}: {call}"


def describe(value: Any) -> str:
    """Type and value in a few words, for error messages."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"


def episode_seed(seed: int, purpose: str, index: int, episode: int) -> int:
    """Hash seed, purpose, environment index and episode number into the seed of one episode."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


class StepResult(NamedTuple):
    """The result of one step of all environments; arrays are `[N]`."""

    rewards: Array
    terminated: Array
    truncated: Array
    final: dict[int, Array]
    """Final observation of each episode that ended, by environment."""


class VectorEnv:
    """Environments stepped together, with Gymnasium's SAME_STEP autoreset: no step is a dummy.

    `observations` are the next to act on: after the end of an episode, the first of the new one.
    """

    def __init__(self, config: GymConfig, seed: int, watchdog: Watchdog, purpose: str = "train") -> None:
        self.envs = [SubEnv(config, index, seed, purpose, watchdog) for index in range(config.num_envs)]
        self.spaces = self.envs[0].spaces
        self.history: list[Array] = []
        encoder = self.spaces.observations
        self.observations = np.empty((config.num_envs, *encoder.shape), encoder.dtype)

    def __len__(self) -> int:
        return len(self.envs)

    def reset(self) -> None:
        """Reset every environment."""
        for index, env in enumerate(self.envs):
            self.observations[index] = env.reset()

    def step(self, actions: Array) -> StepResult:
        """Take one action in each environment."""
        self.history.append(actions)
        num = len(self.envs)
        rewards, terminated, truncated = np.empty(num), np.zeros(num, bool), np.zeros(num, bool)
        final = {}
        for index, (env, action) in enumerate(zip(self.envs, self.spaces.actions.to_env(actions), strict=True)):
            observation, rewards[index], terminated[index], truncated[index] = env.step(action)
            if terminated[index] or truncated[index]:
                final[index] = observation.copy()
                observation = env.reset()
            self.observations[index] = observation
        if final and len(self.history) > MAX_HISTORY:
            del self.history[: len(self.history) - max(env.length for env in self.envs)]
        return StepResult(rewards, terminated, truncated, final)

    def state(self) -> dict[str, Array]:
        """Episode number, actions taken in the episode, and current observation of every environment."""
        history = np.stack(self.history)
        actions = [history[len(history) - env.length :, index] for index, env in enumerate(self.envs)]
        return {
            "episodes": np.array([env.episode for env in self.envs]),
            "lengths": np.array([env.length for env in self.envs]),
            "actions": np.concatenate(actions),
            "observations": self.observations.copy(),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Replay the current episode of every environment.

        DataError: a replay does not end in bitwise the same observation.
        """
        lengths = state["lengths"].tolist()
        starts = np.cumsum([0, *lengths])
        for index, (env, episode) in enumerate(zip(self.envs, state["episodes"].tolist(), strict=True)):
            env.episode = episode - 1
            observation = env.reset()
            actions = state["actions"][starts[index] : starts[index + 1]]
            for action in self.spaces.actions.to_env(actions) if len(actions) else ():
                observation = env.step(action)[0]
            if observation.tobytes() != state["observations"][index].tobytes():
                raise DataError(
                    f"{env.name}: environment {index}: episode {episode} played again does not show what it showed "
                    f"after {env.length} steps; the environment depends on more than its seed and its actions"
                )
            self.observations[index] = observation
        self.history = rebuild_history(state["actions"], lengths)

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def rebuild_history(actions: Array, lengths: Sequence[int]) -> list[Array]:
    """Action histories of running episodes of the given lengths; zeros before the start of an episode."""
    history = np.zeros((max(lengths), len(lengths), *actions.shape[1:]), actions.dtype)
    starts = np.cumsum([0, *lengths])
    for index, length in enumerate(lengths):
        if length:
            history[-length:, index] = actions[starts[index] : starts[index + 1]]
    return list(history)
