"""A key-value cache that is allocated once, and from which finished rows can be dropped."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one attention layer, `[rows, heads, capacity, size]`; the first `length` are filled."""

    def __init__(self, capacity: int, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity, self.length, self.dtype = capacity, 0, dtype

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.device = key_states.device
        self.all_keys, self.all_values = self.room(key_states), self.room(value_states)
        self.is_initialized = True

    def room(self, states: Tensor) -> Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, self.capacity, size, dtype=self.dtype)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new states; all states so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        self.all_keys[:, :, start : self.length] = key_states
        self.all_values[:, :, start : self.length] = value_states
        return self.all_keys[:, :, : self.length], self.all_values[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        self.all_keys, self.all_values = self.taken(self.all_keys, indices), self.taken(self.all_values, indices)

    def taken(self, states: Tensor, indices: Tensor) -> Tensor:
        kept = self.room(states[: len(indices)])
        torch.index_select(states[:, :, : self.length], 0, indices, out=kept[:, :, : self.length])
        return kept


def make_cache(model: PreTrainedModel, capacity: int, dtype: torch.dtype) -> tuple[Cache, bool]:
    """A cache for `capacity` tokens in `dtype`, and whether all of its layers keep all of them.

    Layers that transformers caches in another way (sliding windows, recurrent states) stay as it makes them.
    """
    made = DynamicCache(config=model.config).layers
    layers = [PreallocatedLayer(capacity, dtype) if type(layer) is DynamicLayer else layer for layer in made]
    cache = Cache(layers=layers)
    return cache, len(preallocated(cache)) == len(layers)


def preallocated(cache: Cache) -> list[PreallocatedLayer]:
    """Those layers of a cache that keep everything."""
    return [layer for layer in cache.layers if isinstance(layer, PreallocatedLayer)]
