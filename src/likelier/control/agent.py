"""Trained agents on disk: weights, observation moments and the settings to rebuild the network."""

from pathlib import Path
from typing import Any

from likelier.config import GymConfig
from likelier.control.envs import make_env, make_spaces
from likelier.control.nets import ActorCritic
from likelier.control.normalise import RunningMoments, make_observation_moments
from likelier.control.spaces import Array
from likelier.errors import ConfigError
from likelier.files import read_json, write_json
from likelier.training.setup import seeded_generator
from likelier.training.state import load_arrays, load_module, save_arrays, save_module


def save_agent(folder: Path, policy: ActorCritic, moments: RunningMoments | None, config: GymConfig) -> None:
    """Save `model.safetensors`, the settings, and `moments.safetensors` if observations are normalised."""
    folder.mkdir(exist_ok=True)
    save_module(folder / "model.safetensors", policy)
    if moments is not None:
        save_arrays(folder / "moments.safetensors", moments.state())
    write_json(folder / "config.json", config.model_dump(mode="json"))


def restore_agent(folder: Path, policy: ActorCritic, moments: RunningMoments | None) -> None:
    """Load weights and moments of a saved agent into those of a new run.

    ConfigError: no agent there, or one with another network or other settings of `normalize_observations`.
    """
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(f"gym.agent: {folder} holds no agent; name the folder `model` of a run of `likelier gym`")
    try:
        load_module(folder / "model.safetensors", policy)
    except RuntimeError as error:
        raise ConfigError(
            f"gym.agent: {folder} is of another network; observations, actions, gym.hidden_sizes and gym.recurrent "
            "must be the same"
        ) from error
    path = folder / "moments.safetensors"
    if (moments is not None) != path.is_file():
        was = "true" if path.is_file() else "false"
        raise ConfigError(f"gym.agent: {folder} was trained with gym.normalize_observations={was}; set it so")
    if moments is not None:
        moments.restore(load_arrays(path))


class LoadedAgent:
    """A trained agent, in the environment's spaces; made by `load_agent`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.config = GymConfig.model_validate(read_json(folder / "config.json"))
        env = make_env(self.config)
        self.spaces = make_spaces(env, self.config)
        env.close()
        self.policy = ActorCritic(self.spaces, self.config, seeded_generator(0, 0, "weights"))
        load_module(folder / "model.safetensors", self.policy)
        self.act, self.moments = self.policy.actor(), make_observation_moments(self.spaces.observations, self.config)
        if self.moments is not None:
            self.moments.restore(load_arrays(folder / "moments.safetensors"))
        self.generator = seeded_generator(seed, 0, "agent")

    def predict(self, observation: Any, deterministic: bool = True, state: Array | None = None) -> tuple[Any, Array]:
        """(action, state): a recurrent policy wants its state back with the next observation of the episode.

        `deterministic`: the mode of the policy; otherwise a sample. `state` None: an episode begins. With `frame_stack`
        the observation is `[frame_stack, ...]`.
        """
        frames = observation if self.config.frame_stack > 1 else [observation]
        encoded = self.spaces.observations.encode_frames(frames)
        if self.moments is not None:
            encoded = self.moments.normalize(encoded)
        noise = None if deterministic else self.policy.distribution.noise((1,), self.generator)
        actions, state = self.act(encoded[None], noise, self.policy.initial_state(1) if state is None else state)
        return self.spaces.actions.to_env(actions)[0], state

    def __call__(self, observation: Any, deterministic: bool = True) -> Any:
        """The action of `predict`. ConfigError: the policy is recurrent."""
        if self.config.recurrent:
            raise ConfigError(f"{self.folder}: this policy is recurrent; call predict, and hand its state on")
        return self.predict(observation, deterministic)[0]


def load_agent(folder: Path, seed: int = 0) -> LoadedAgent:
    """Load an agent; samples come from a generator seeded with `seed`. DataError: no such agent."""
    return LoadedAgent(folder, seed)
