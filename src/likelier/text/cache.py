"""A key-value cache that is allocated ahead, in blocks, and from which finished rows can be dropped."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

BLOCK = 32
"""Tokens by which a cache grows. Attention reads whole blocks, which is faster than to leave out what is not filled."""


def round_up_to_blocks(length: int) -> int:
    """The least number of tokens that fills whole blocks and holds `length`."""
    return -(-length // BLOCK) * BLOCK


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one attention layer, `[rows, heads, room, size]`: the first `length` are real, the rest 0.

    transformers' own layer concatenates at each token, which copies all that came before.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length, self.dtype = 0, dtype

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make an empty cache with the shape of the first states."""
        self.device = key_states.device
        self.all_keys, self.all_values = (self.allocate(states, 0) for states in (key_states, value_states))
        self.is_initialized = True

    def allocate(self, states: Tensor, length: int) -> Tensor:
        """Zeros for `length` tokens, in whole blocks."""
        rows, heads, _, size = states.shape
        return states.new_zeros(rows, heads, round_up_to_blocks(length), size, dtype=self.dtype)

    def append(self, key_states: Tensor, value_states: Tensor) -> None:
        """Write new states behind the existing ones."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        if self.length > self.all_keys.shape[2]:
            self.all_keys, self.all_values = self.grow(self.all_keys, start), self.grow(self.all_values, start)
        self.all_keys[:, :, start : self.length] = key_states
        self.all_values[:, :, start : self.length] = value_states

    def grow(self, states: Tensor, filled: int) -> Tensor:
        """A copy with room for `self.length` tokens."""
        larger = self.allocate(states, self.length)
        larger[:, :, :filled] = states[:, :, :filled]
        return larger

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new states; all states so far, as views."""
        self.append(key_states, value_states)
        return self.all_keys[:, :, : self.length], self.all_values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Tokens in the cache."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        self.all_keys, self.all_values = self.all_keys[indices], self.all_values[indices]


def make_cache(model: PreTrainedModel, dtype: torch.dtype) -> tuple[Cache, bool]:
    """Return a cache in `dtype`, and True if all of its layers keep all tokens.

    Layers that transformers caches in another way (sliding windows, recurrent states) stay as it makes them.
    """
    default = DynamicCache(config=model.config).layers
    layers = [PreallocatedLayer(dtype) if type(layer) is DynamicLayer else layer for layer in default]
    cache = Cache(layers=layers)
    return cache, len(preallocated_layers(cache)) == len(layers)


def keep_rows(cache: Cache, rows: Tensor) -> None:
    """Drop all other rows. transformers' own layers of recurrent states know it as the reordering of beams."""
    for layer in cache.layers:
        if isinstance(layer, PreallocatedLayer):
            layer.batch_select_indices(rows)
        else:
            layer.reorder_cache(rows)  # type: ignore[arg-type]  # wants a LongTensor, which no function returns


def preallocated_layers(cache: Cache) -> list[PreallocatedLayer]:
    """The layers of a cache that keep all tokens."""
    return [layer for layer in cache.layers if isinstance(layer, PreallocatedLayer)]
