"""Evaluation of a trained agent: returns on fresh episodes, and a GIF of one."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likelier.config import GymConfig
from likelier.control.envs import EnvError, SubEnv, describe, make_env
from likelier.control.nets import ActorCritic
from likelier.control.panel import Glance, Panel, glance_at
from likelier.control.spaces import Array
from likelier.control.watchdog import Watchdog
from likelier.training.setup import seeded_generator
from likelier.userfile import summarise_error

Normalize = Callable[[Array], Array]
"""Observations to what the policy was trained on."""
MAX_EVAL_ENVS = 20
"""Environments stepped together."""
MAX_EPISODE_STEPS = 100_000
"""An evaluation episode longer than this is taken for endless."""
MAX_GIF_FRAMES = 250
"""Longer episodes keep every k-th frame."""
GIF_WIDTH = 300


def evaluate(
    policy: ActorCritic, normalize: Normalize, config: GymConfig, seed: int, watchdog: Watchdog
) -> dict[str, float]:
    """Mean and standard deviation of undiscounted returns on fresh episodes, for mode and for sampled actions.

    Both use the same episode seeds; rewards are not normalised.
    """
    result: dict[str, float] = {}
    for prefix, sampled in (("eval", False), ("eval_sampled", True)):
        returns = np.array(play_episodes(policy, normalize, config, seed, watchdog, sampled))
        result |= {f"{prefix}_mean": float(returns.mean()), f"{prefix}_std": float(returns.std())}
    return result | {"eval_episodes": config.num_eval_episodes}


def play_episodes(
    policy: ActorCritic, normalize: Normalize, config: GymConfig, seed: int, watchdog: Watchdog, sample_actions: bool
) -> list[float]:
    """Undiscounted return of each episode.

    Environment i of n plays episodes i, i + n, i + 2n, …: counting the first episodes to end would favour short ones.
    """
    generator = seeded_generator(seed, 0, "evaluate", policy.device)
    num = min(MAX_EVAL_ENVS, config.num_eval_episodes)
    envs = [SubEnv(config, index, seed, "evaluate", watchdog) for index in range(num)]
    act, returns, states = policy.actor(), [[0.0] for _ in envs], policy.initial_state(num)
    observations = {env.index: env.reset().copy() for env in envs}
    while observations:
        noise = policy.distribution.noise((len(observations),), generator) if sample_actions else None
        playing = list(observations)
        actions, states[playing] = act(normalize(np.stack(list(observations.values()))), noise, states[playing])
        for index, action in zip(playing, envs[0].spaces.actions.to_env(actions), strict=True):
            observation, reward, terminated, truncated = take_step(envs[index], action)
            returns[index][-1] += reward
            observations[index] = observation.copy()
            if not (terminated or truncated):
                continue
            states[index] = 0.0
            if index + num * len(returns[index]) < config.num_eval_episodes:
                returns[index].append(0.0)
                observations[index] = envs[index].reset().copy()
            else:
                del observations[index]
    for env in envs:
        env.env.close()
    return [episode_return for env_returns in returns for episode_return in env_returns]


def take_step(env: SubEnv, action: Any) -> tuple[Array, float, bool, bool]:
    """Step one environment. EnvError: the episode is longer than `MAX_EPISODE_STEPS`."""
    if env.length >= MAX_EPISODE_STEPS:
        raise EnvError(
            f"{env.name}: an evaluation episode did not end in {MAX_EPISODE_STEPS} steps; set gym.max_episode_steps "
            "(what was trained is in the run's folder `model`)"
        )
    return env.step(action)


def draws_pictures(config: GymConfig) -> bool:
    """Return True if the environment says that it can be rendered as pictures; many cannot, and need not."""
    env = make_env(config)
    try:
        return "rgb_array" in (getattr(env, "metadata", None) or {}).get("render_modes", [])
    finally:
        env.close()


def draw_gif(
    policy: ActorCritic, normalize: Normalize, config: GymConfig, seed: int, watchdog: Watchdog, path: Path
) -> str | None:
    """Write one episode with mode actions as a GIF, under each frame what the policy sees, expects and does; returns
    the reason if there is none, else None."""
    try:
        frames, glances, panel, fps = record_episode(policy, normalize, config, seed, watchdog)
        step = -(-len(frames) // MAX_GIF_FRAMES)
        places = range(0, len(frames), step)
        pictures = [stack_pictures(shrink_frame(frames[place]), panel.draw(glances, place)) for place in places]
    except Exception as error:  # whatever a renderer lacks must not cost a finished training
        return summarise_error(error)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 * step / fps, loop=0)
    return None


def save_gif(frames: Sequence[Array], fps: float, path: Path, most_fps: float = math.inf) -> None:
    """Write frames as a GIF that runs as fast as they were taken, with at most `MAX_GIF_FRAMES`, `most_fps` a second.

    Written beside it and renamed: half a file never has its name.
    """
    step = max(-(-len(frames) // MAX_GIF_FRAMES), math.ceil(fps / most_fps))
    pictures = [shrink_frame(frame) for frame in frames[::step]]
    partial = path.with_name(f".{path.name}")
    pictures[0].save(partial, "GIF", save_all=True, append_images=pictures[1:], duration=1000 * step / fps, loop=0)
    partial.replace(path)


def record_episode(
    policy: ActorCritic, normalize: Normalize, config: GymConfig, seed: int, watchdog: Watchdog
) -> tuple[list[Array], list[Glance], Panel, float]:
    """The frames of an episode, what the policy makes of each, what draws that, and frames per second."""
    env = SubEnv(config, 0, seed, "gif", watchdog, render=True)
    act, state, observation, ended = policy.actor(), policy.initial_state(1), env.reset(), False
    frames: list[Array] = []
    glances: list[Glance] = []
    while True:
        frames.append(render_frame(env))
        normalized, before = normalize(observation[None].copy()), state
        action, state = act(normalized, None, before)
        glances.append(glance_at(policy, observation, normalized, before, action))
        if ended or len(frames) >= MAX_EPISODE_STEPS:
            break
        observation, _, terminated, truncated = env.step(env.spaces.actions.to_env(action)[0])
        ended = terminated or truncated
    env.env.close()
    panel = Panel(policy, env.spaces.observations, env.spaces.actions, config.env_id, GIF_WIDTH)
    return frames, glances, panel, float(env.env.metadata.get("render_fps", 30))


def render_frame(env: SubEnv) -> Array:
    """The current frame as an array. EnvError: the environment does not render one."""
    if "rgb_array" not in env.env.metadata.get("render_modes", []):
        raise EnvError(f"{env.name}: has no render mode rgb_array")
    frame = env.env.render()
    if not isinstance(frame, np.ndarray):
        raise EnvError(f"{env.name}: render returned {describe(frame)}, not an array")
    return frame


def shrink_frame(frame: Array) -> Image.Image:
    """Scale a frame to `GIF_WIDTH`."""
    picture = Image.fromarray(frame).convert("RGB")
    height = max(1, round(frame.shape[0] * GIF_WIDTH / frame.shape[1]))
    return picture.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS)


def stack_pictures(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Put one picture above the other, in 64 colours."""
    both = Image.new("RGB", (upper.width, upper.height + lower.height))
    both.paste(upper, (0, 0))
    both.paste(lower, (0, upper.height))
    return both.quantize(64)
