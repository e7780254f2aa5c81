"""A preallocated key-value cache, grown in blocks, from which finished rows can be dropped."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

BLOCK = 32
"""Tokens by which a cache grows. Attention reads whole blocks, which is faster than to leave out what is not filled."""


def round_up_to_blocks(length: int) -> int:
    """Round a length up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one attention layer, `[rows, heads, capacity, size]`: the first `length` are used, the rest 0.

    transformers' own layer concatenates at each token, which copies the whole cache.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length, self.dtype = 0, dtype

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Create an empty cache with the shape of the first states."""
        self.device = key_states.device
        self.all_keys, self.all_values = (self.allocate(states, 0) for states in (key_states, value_states))
        self.is_initialized = True

    def allocate(self, states: Tensor, length: int) -> Tensor:
        """Zeros for `length` tokens, rounded up to blocks."""
        rows, heads, _, size = states.shape
        return states.new_zeros(rows, heads, round_up_to_blocks(length), size, dtype=self.dtype)

    def append(self, key_states: Tensor, value_states: Tensor) -> None:
        """Write new states after the existing ones."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        if self.length > self.all_keys.shape[2]:
            self.all_keys, self.all_values = self.grow(self.all_keys, start), self.grow(self.all_values, start)
        self.all_keys[:, :, start : self.length] = key_states
        self.all_values[:, :, start : self.length] = value_states

    def grow(self, states: Tensor, filled: int) -> Tensor:
        """Return a copy with capacity for `self.length` tokens."""
        larger = self.allocate(states, self.length)
        larger[:, :, :filled] = states[:, :, :filled]
        return larger

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new states; returns views of all states so far."""
        self.append(key_states, value_states)
        return self.all_keys[:, :, : self.length], self.all_values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Number of tokens in the cache."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows at `indices`."""
        self.all_keys, self.all_values = self.all_keys[indices], self.all_values[indices]


def make_cache(model: PreTrainedModel, dtype: torch.dtype, keep_all: bool = False) -> tuple[Cache, bool]:
    """Make a cache in `dtype`; also returns True if all its layers keep all tokens.

    Layers with other caches (sliding windows, recurrent states) keep those of transformers. `keep_all`: layers with a
    sliding window keep all tokens too, and leave it to the mask to hide those that are too far back.
    """
    kinds = (DynamicLayer, DynamicSlidingWindowLayer) if keep_all else (DynamicLayer,)
    default = DynamicCache(config=model.config).layers
    layers = [PreallocatedLayer(dtype) if type(layer) in kinds else layer for layer in default]
    cache = Cache(layers=layers)
    return cache, len(preallocated_layers(cache)) == len(layers)


def keep_rows(cache: Cache, rows: Tensor) -> None:
    """Drop all rows but `rows`; for transformers' recurrent layers by reordering beams."""
    for layer in cache.layers:
        if isinstance(layer, PreallocatedLayer):
            layer.batch_select_indices(rows)
        else:
            layer.reorder_cache(rows)  # type: ignore[arg-type]  # wants a LongTensor, which no function returns


def preallocated_layers(cache: Cache) -> list[PreallocatedLayer]:
    """The layers of a cache that keep all tokens."""
    return [layer for layer in cache.layers if isinstance(layer, PreallocatedLayer)]
