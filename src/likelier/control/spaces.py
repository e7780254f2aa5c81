"""Conversion between Gymnasium spaces and networks: observations to vectors or images, outputs to actions."""

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
class ObservationEncoder:
    """Encodes observations of a space: images as `[C, H, W]` uint8, everything else as a flat float32 vector."""

    space: Space[Any]
    frame_stack: int
    image: bool
    shape: tuple[int, ...]
    """Shape of an encoded observation."""

    @property
    def dtype(self) -> type[np.generic]:
        """dtype of encoded observations."""
        return np.uint8 if self.image else np.float32

    @cached_property
    def flattens(self) -> bool:
        """True if `gymnasium.spaces.flatten` encodes: categories one-hot, parts of a Dict or Tuple concatenated."""
        return not isinstance(self.space, spaces.Box)

    def encode(self, observation: Any) -> Array:
        """Encode one observation, without frame stacking."""
        if self.flattens:
            return np.asarray(spaces.flatten(self.space, observation), np.float32)
        if not self.image:
            return np.asarray(observation).ravel()
        return channels_first(observation)

    def encode_frames(self, frames: Sequence[Any]) -> Array:
        """Encode frames, oldest first, and concatenate them: images along channels, vectors along their axis."""
        return np.concatenate([self.encode(frame) for frame in frames]).astype(self.dtype)


def make_observation_encoder(space: Space[Any], frame_stack: int, name: str) -> ObservationEncoder:
    """The encoder of an observation space. ConfigError: the space is not supported."""
    if space.is_np_flattenable and spaces.flatdim(space) == 0:
        raise ConfigError(f"{name}: observation space {space} shows nothing; give it at least one number, if only 0")
    match space:
        case spaces.Box(dtype=np.uint8, shape=shape) if len(shape) in (2, 3):
            channels, height, width = channels_first(np.empty(shape, np.uint8)).shape
            return ObservationEncoder(space, frame_stack, True, (channels * frame_stack, height, width))
        case spaces.Box() | spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return ObservationEncoder(space, frame_stack, False, (spaces.flatdim(space) * frame_stack,))
        case spaces.Dict() | spaces.Tuple() if space.is_np_flattenable:
            return ObservationEncoder(space, frame_stack, False, (spaces.flatdim(space) * frame_stack,))
    kind = type(space).__name__
    raise ConfigError(
        f"{name}: observation space {kind} is not supported (Box, Discrete, MultiDiscrete, MultiBinary, and Dict and "
        "Tuple of these are); wrap the environment so that it shows one of them"
    )


def channels_first(image: Array) -> Array:
    """Return an image as `[C, H, W]`; the shorter of first and last axis is taken to be the channels."""
    if image.ndim == 2:
        return image[None]
    return image if image.shape[0] < image.shape[2] else np.moveaxis(image, -1, 0)


@dataclass(frozen=True)
class ActionDecoder:
    """Decodes a policy's outputs into actions of a space."""

    space: Space[Any]
    sizes: tuple[int, ...]
    """Number of categories of each discrete component; empty for continuous actions."""
    num_real: int
    """Dimensions of a continuous action; 0 for discrete ones."""
    parts: tuple["ActionDecoder", ...] = ()
    """Of a Tuple or Dict. A row of actions holds the numbers of all parts first, then their categories."""

    def to_env(self, actions: Array) -> list[Any]:
        """Convert each row of `actions` to an action of the environment's space.

        Continuous values are clipped to [-1, 1] and rescaled to the box where both bounds are finite, else clipped to
        the finite bound.
        """
        space = self.space
        if self.parts:
            return self.join_parts(actions)
        if isinstance(space, spaces.Discrete):
            return list(actions[:, 0].astype(np.int64) + space.start)
        if isinstance(space, spaces.MultiDiscrete):
            return list((actions.reshape(-1, *space.shape) + space.start).astype(space.dtype))
        if isinstance(space, spaces.MultiBinary):
            return list(actions.reshape(-1, *space.shape).astype(np.int8))
        low, span, bounded = self.box
        stretched = low + span * (np.clip(actions, -1.0, 1.0) + 1.0) / 2
        values = np.where(bounded, stretched, actions).reshape(-1, *space.shape)  # type: ignore[misc]
        return list(np.clip(values, space.low, space.high).astype(space.dtype))  # type: ignore[attr-defined]

    def join_parts(self, actions: Array) -> list[Any]:
        """Convert each row of `actions` to a tuple or dict of the parts' actions."""
        rows = list(zip(*(part.to_env(columns) for part, columns in self.split(actions)), strict=True))
        if isinstance(self.space, spaces.Dict):
            return [dict(zip(self.space.spaces, row, strict=True)) for row in rows]
        return rows

    def split(self, actions: Array) -> list[tuple["ActionDecoder", Array]]:
        """Each part with its columns of `actions`."""
        found, real, category = [], 0, self.num_real
        for part in self.parts:
            numbers, categories = slice(real, real + part.num_real), slice(category, category + len(part.sizes))
            found.append((part, np.concatenate([actions[:, numbers], actions[:, categories]], -1)))
            real, category = numbers.stop, categories.stop
        return found

    def list_numbers(self, actions: Array) -> Array:
        """Continuous dimensions of each row as the environment gets them, `[N, num_real]`."""
        if self.parts:
            return np.concatenate([part.list_numbers(columns) for part, columns in self.split(actions)], -1)
        values = self.to_env(actions) if self.num_real else []
        return np.array(values, np.float64).reshape(len(actions), self.num_real)

    @cached_property
    def box(self) -> tuple[Array, Array, Array]:
        """Lower bound, range, and True where both bounds are finite, per dimension."""
        assert isinstance(self.space, spaces.Box)
        low, high = self.space.low.ravel().astype(np.float64), self.space.high.ravel().astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        return np.where(bounded, low, 0.0), np.where(bounded, high, 0.0) - np.where(bounded, low, 0.0), bounded


def make_action_decoder(space: Space[Any], name: str) -> ActionDecoder:
    """The decoder of an action space. ConfigError: the space is not supported."""
    match space:
        case spaces.Discrete():
            return ActionDecoder(space, (int(space.n),), 0)
        case spaces.MultiDiscrete():
            return ActionDecoder(space, tuple(int(n) for n in space.nvec.ravel()), 0)
        case spaces.MultiBinary():
            return ActionDecoder(space, (2,) * int(np.prod(space.shape)), 0)
        case spaces.Box() if np.issubdtype(space.dtype, np.floating):
            return ActionDecoder(space, (), int(np.prod(space.shape)))
        case spaces.Tuple() | spaces.Dict() if len(space.spaces):
            inner = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
            parts = tuple(make_action_decoder(part, name) for part in inner)
            sizes = tuple(size for part in parts for size in part.sizes)
            return ActionDecoder(space, sizes, sum(part.num_real for part in parts), parts)
    kind = f"Box of {space.dtype}" if isinstance(space, spaces.Box) else type(space).__name__
    raise ConfigError(
        f"{name}: action space {kind} is not supported (Discrete, MultiDiscrete, MultiBinary, Box of floats, "
        "and Tuple and Dict of these are)"
    )
