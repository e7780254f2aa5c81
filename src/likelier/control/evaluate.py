"""How good the trained agent is on fresh episodes, and what it looks like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likelier.config import GymConfig
from likelier.control.envs import EnvError, SubEnv, described
from likelier.control.nets import ActorCritic
from likelier.control.spaces import Array
from likelier.control.watchdog import Watchdog
from likelier.training.setup import seeded_generator
from likelier.userfile import brief

Seen = Callable[[Array], Array]
MOST_COPIES = 20
"""Episodes played side by side."""
MOST_STEPS = 100_000
"""An episode that has not ended by then never will."""
MOST_FRAMES = 250
"""Of the GIF: of a longer episode every k-th is kept."""
GIF_WIDTH = 300


def evaluate(policy: ActorCritic, seen: Seen, config: GymConfig, seed: int, watchdog: Watchdog) -> dict[str, float]:
    """Mean and standard deviation of the returns of fresh episodes: the likeliest actions, then sampled ones.

    Returns are undiscounted and as the environment gives them. Both kinds play episodes of the same seeds.
    """
    found: dict[str, float] = {}
    for prefix, sampled in (("eval", False), ("eval_sampled", True)):
        returns = np.array(play(policy, seen, config, seed, watchdog, sampled))
        found |= {f"{prefix}_mean": float(returns.mean()), f"{prefix}_std": float(returns.std())}
    return found | {"eval_episodes": config.num_eval_episodes}


def play(
    policy: ActorCritic, seen: Seen, config: GymConfig, seed: int, watchdog: Watchdog, sampled: bool
) -> list[float]:
    """The return of each episode. SubEnv i plays episodes i, i + n, i + 2n …: all of them, not those that end first."""
    draw = seeded_generator(seed, 0, "evaluate", policy.device)
    num = min(MOST_COPIES, config.num_eval_episodes)
    copies = [SubEnv(config, index, seed, "evaluate", watchdog) for index in range(num)]
    act, returns = policy.actor(), [[0.0] for _ in copies]
    shown = {copy.index: copy.reset().copy() for copy in copies}
    while shown:
        noise = policy.distribution.noise((len(shown),), draw) if sampled else None
        actions = act(seen(np.stack(list(shown.values()))), noise)
        for index, action in zip(list(shown), copies[0].spaces.actions.to_env(actions), strict=True):
            observation, reward, terminated, truncated = take_step(copies[index], action)
            returns[index][-1] += reward
            shown[index] = observation.copy()
            if not (terminated or truncated):
                continue
            if index + num * len(returns[index]) < config.num_eval_episodes:
                returns[index].append(0.0)
                shown[index] = copies[index].reset().copy()
            else:
                del shown[index]
    for copy in copies:
        copy.env.close()
    return [each for of_copy in returns for each in of_copy]


def take_step(copy: SubEnv, action: Any) -> tuple[Array, float, bool, bool]:
    """EnvError: an episode without end."""
    if copy.length >= MOST_STEPS:
        raise EnvError(
            f"{copy.name}: an evaluation episode did not end in {MOST_STEPS} steps; set gym.max_episode_steps "
            "(what was trained is in the run's folder `model`)"
        )
    return copy.step(action)


def draw_gif(
    policy: ActorCritic, seen: Seen, config: GymConfig, seed: int, watchdog: Watchdog, path: Path
) -> str | None:
    """One episode with the likeliest actions as a moving picture; why there is none, where there is none."""
    try:
        frames, per_second = film(policy, seen, config, seed, watchdog)
    except Exception as error:  # whatever a renderer lacks must not cost a finished training
        return brief(error)
    step = -(-len(frames) // MOST_FRAMES)
    pictures = [small_picture(frame) for frame in frames[::step]]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 * step / per_second, loop=0)
    return None


def film(
    policy: ActorCritic, seen: Seen, config: GymConfig, seed: int, watchdog: Watchdog
) -> tuple[list[Array], float]:
    """The frames of an episode, and how many make a second."""
    copy = SubEnv(config, 0, seed, "gif", watchdog, render=True)
    act, observation, frames, ended = policy.actor(), copy.reset(), [picture_of(copy)], False
    while not ended and len(frames) < MOST_STEPS:
        action = act(seen(observation[None].copy()), None)
        observation, _, terminated, truncated = copy.step(copy.spaces.actions.to_env(action)[0])
        ended = terminated or truncated
        frames.append(picture_of(copy))
    copy.env.close()
    return frames, float(copy.env.metadata.get("render_fps", 30))


def picture_of(copy: SubEnv) -> Array:
    frame = copy.env.render()
    if not isinstance(frame, np.ndarray):
        raise EnvError(f"{copy.name}: render returned {described(frame)}, not an array")
    return frame


def small_picture(frame: Array) -> Image.Image:
    picture = Image.fromarray(frame)
    height = max(1, round(frame.shape[0] * GIF_WIDTH / frame.shape[1]))
    return picture.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS).quantize(64)
