"""Trained agents on disk: weights, observation moments and the settings to rebuild the network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from likelier.config import GymConfig
from likelier.control.envs import make_env, make_spaces
from likelier.control.nets import ActorCritic
from likelier.control.normalise import RunningMoments, make_observation_moments
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


def load_agent(folder: Path, seed: int = 0) -> Callable[..., Any]:
    """Load an agent as a function in the environment's spaces: `agent(observation, deterministic=True) -> action`.

    `deterministic`: the mode of the policy; otherwise a sample from a generator seeded with `seed`. With `frame_stack`
    the observation is `[frame_stack, ...]`. DataError: no such agent.
    """
    config = GymConfig.model_validate(read_json(folder / "config.json"))
    env = make_env(config)
    spaces = make_spaces(env, config)
    env.close()
    policy = ActorCritic(spaces, config, seeded_generator(0, 0, "weights"))
    load_module(folder / "model.safetensors", policy)
    act, moments = policy.actor(), make_observation_moments(spaces.observations, config)
    if moments is not None:
        moments.restore(load_arrays(folder / "moments.safetensors"))

    generator = seeded_generator(seed, 0, "agent")

    def agent(observation: Any, deterministic: bool = True) -> Any:
        frames = observation if config.frame_stack > 1 else [observation]
        encoded = spaces.observations.encode_frames(frames)
        if moments is not None:
            encoded = moments.normalize(encoded)
        noise = None if deterministic else policy.distribution.noise((1,), generator)
        return spaces.actions.to_env(act(encoded[None], noise))[0]

    return agent
