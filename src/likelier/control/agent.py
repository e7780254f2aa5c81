"""A trained agent on disk: its weights, and what is needed to build it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from likelier.config import GymConfig
from likelier.control.envs import make_env, spaces_of
from likelier.control.nets import ActorCritic
from likelier.control.normalise import Moments, moments_of
from likelier.files import read_json, write_json
from likelier.training.setup import seeded_generator
from likelier.training.state import load_arrays, load_module, save_arrays, save_module


def save_agent(folder: Path, policy: ActorCritic, moments: Moments | None, config: GymConfig) -> None:
    """`model.safetensors`, `moments.safetensors` where observations are normalised, and the settings."""
    folder.mkdir(exist_ok=True)
    save_module(folder / "model.safetensors", policy)
    if moments is not None:
        save_arrays(folder / "moments.safetensors", moments.state())
    write_json(folder / "config.json", config.model_dump(mode="json"))


def load_agent(folder: Path) -> Callable[[Any], Any]:
    """The likeliest action for an observation: `action = agent(observation)`, as the environment shows and takes them.

    With `frame_stack`, the observation is the stack of them, `[frame_stack, ...]`.
    """
    config = GymConfig.model_validate(read_json(folder / "config.json"))
    env = make_env(config)
    spaces = spaces_of(env, config)
    env.close()
    policy = ActorCritic(spaces, config, seeded_generator(0, 0, "weights"))
    load_module(folder / "model.safetensors", policy)
    act, moments = policy.actor(), moments_of(spaces.observations, config)
    if moments is not None:
        moments.restore(load_arrays(folder / "moments.safetensors"))

    def agent(observation: Any) -> Any:
        frames = observation if config.frame_stack > 1 else [observation]
        seen = spaces.observations.stacked(frames)
        if moments is not None:
            seen = moments.normalised(seen)
        return spaces.actions.to_env(act(seen[None], None))[0]

    return agent
