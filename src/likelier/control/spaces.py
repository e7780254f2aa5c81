"""What an environment shows and takes, as a network needs it: observations as vectors or images, actions as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from likelier.errors import ConfigError

Array = NDArray[Any]


@dataclass(frozen=True)
class Observations:
    """How observations of a space reach the network: images as `[C, H, W]` bytes, all else as a flat vector."""

    space: Space[Any]
    frame_stack: int
    image: bool
    shape: tuple[int, ...]
    """Of what the network sees."""

    @property
    def dtype(self) -> type[np.generic]:
        return np.uint8 if self.image else np.float32

    @cached_property
    def flattens(self) -> bool:
        """Whether parts are laid side by side, or numbers stand for categories, which a network sees one-hot."""
        return not isinstance(self.space, spaces.Box)

    def seen(self, observation: Any) -> Array:
        """One observation, not stacked, as the network sees it."""
        if self.flattens:
            return np.asarray(spaces.flatten(self.space, observation), np.float32)
        if not self.image:
            return np.asarray(observation).ravel()
        return channels_first(observation)

    def stacked(self, frames: Sequence[Any]) -> Array:
        """Frames, oldest first, side by side: along the channels of an image, along the only axis of a vector."""
        return np.concatenate([self.seen(frame) for frame in frames]).astype(self.dtype)


def observations_of(space: Space[Any], frame_stack: int, name: str) -> Observations:
    """ConfigError: a space that no network here can see."""
    if space.is_np_flattenable and spaces.flatdim(space) == 0:
        raise ConfigError(f"{name}: observation space {space} shows nothing; give it at least one number, if only 0")
    match space:
        case spaces.Box(dtype=np.uint8, shape=shape) if len(shape) in (2, 3):
            channels, height, width = channels_first(np.empty(shape, np.uint8)).shape
            return Observations(space, frame_stack, True, (channels * frame_stack, height, width))
        case spaces.Box() | spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return Observations(space, frame_stack, False, (spaces.flatdim(space) * frame_stack,))
        case spaces.Dict() | spaces.Tuple() if space.is_np_flattenable:
            return Observations(space, frame_stack, False, (spaces.flatdim(space) * frame_stack,))
    kind = type(space).__name__
    raise ConfigError(
        f"{name}: observation space {kind} is not supported (Box, Discrete, MultiDiscrete, MultiBinary, and Dict and "
        "Tuple of these are); wrap the environment so that it shows one of them"
    )


def channels_first(image: Array) -> Array:
    """`[C, H, W]` of an image with its channels last, first, or without any; the shorter end holds the channels."""
    if image.ndim == 2:
        return image[None]
    return image if image.shape[0] < image.shape[2] else np.moveaxis(image, -1, 0)


@dataclass(frozen=True)
class Actions:
    """How a policy's numbers become actions of a space."""

    space: Space[Any]
    sizes: tuple[int, ...]
    """Categories of each choice; empty: real numbers."""
    num_real: int
    """Real numbers in one action."""

    def to_env(self, actions: Array) -> list[Any]:
        """One action for each row of `actions`.

        Real numbers are clipped to [-1, 1] and stretched over the box where it has two ends; else clipped to its end.
        """
        space = self.space
        if isinstance(space, spaces.Discrete):
            return list(actions[:, 0] + space.start)
        if isinstance(space, spaces.MultiDiscrete):
            return list((actions.reshape(-1, *space.shape) + space.start).astype(space.dtype))
        if isinstance(space, spaces.MultiBinary):
            return list(actions.reshape(-1, *space.shape).astype(np.int8))
        low, span, bounded = self.box
        stretched = low + span * (np.clip(actions, -1.0, 1.0) + 1.0) / 2
        taken = np.where(bounded, stretched, actions).reshape(-1, *space.shape)  # type: ignore[misc]
        return list(np.clip(taken, space.low, space.high).astype(space.dtype))  # type: ignore[attr-defined]

    @cached_property
    def box(self) -> tuple[Array, Array, Array]:
        """Low end, span and whether both ends are finite, of each number."""
        assert isinstance(self.space, spaces.Box)
        low, high = self.space.low.ravel().astype(np.float64), self.space.high.ravel().astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        return np.where(bounded, low, 0.0), np.where(bounded, high, 0.0) - np.where(bounded, low, 0.0), bounded


def actions_of(space: Space[Any], name: str) -> Actions:
    """ConfigError: a space that no policy here can act in."""
    match space:
        case spaces.Discrete():
            return Actions(space, (int(space.n),), 0)
        case spaces.MultiDiscrete():
            return Actions(space, tuple(int(n) for n in space.nvec.ravel()), 0)
        case spaces.MultiBinary():
            return Actions(space, (2,) * int(np.prod(space.shape)), 0)
        case spaces.Box() if np.issubdtype(space.dtype, np.floating):
            return Actions(space, (), int(np.prod(space.shape)))
    kind = f"Box of {space.dtype}" if isinstance(space, spaces.Box) else type(space).__name__
    raise ConfigError(
        f"{name}: action space {kind} is not supported (Discrete, MultiDiscrete, MultiBinary, Box of floats are)"
    )
