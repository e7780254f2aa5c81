"""A model's weights by the names of a checkpoint, and a memory through which another process reads them."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from likelier.text.adapters import is_mergeable
from likelier.text.frozen_weights import Quantised

ALIGNMENT = 64
"""Bytes: each tensor begins at a multiple of so many."""
ADAPTER = "lora_"
"""How the parts of an adapted layer that are not its base begin."""


def list_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of each weight of the base of a model, without adapters; quantised ones unpacked.

    A weight that two layers share comes once, under the first name, as in a model folder.
    """
    seen: set[int] = set()
    for layer, module in model.named_modules():
        if any(part.startswith(ADAPTER) for part in layer.split(".")):
            continue
        name = layer.replace(".base_layer", "")
        if isinstance(module, Quantised):
            yield f"{name}.weight", module.dequantise()
        for own, tensor in list_tensors(module):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{name}.{own}" if name else own, tensor.detach()


def list_tensors(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of a module itself, and the buffers that are saved."""
    yield from module.named_parameters(recurse=False)
    if not isinstance(module, Quantised):
        for name, tensor in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield name, tensor


def list_frozen(model: PreTrainedModel) -> list[Tensor] | None:
    """Return the tensors that the base of a model stands on; None if one of them is trained."""
    tensors = [
        tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if not any(part.startswith(ADAPTER) for part in name.split("."))
    ]
    return None if any(tensor.requires_grad for tensor in tensors) else tensors


def has_plain_adapter(model: PreTrainedModel) -> bool:
    """True if the model has one adapter, and nothing but `B A` on linear layers is trained: an engine can add that."""
    if not model._hf_peft_config_loaded:
        return False
    configs: Iterable[Any] = model.peft_config.values()
    plain = all(not (config.modules_to_save or config.use_dora or config.bias != "none") for config in configs)
    return plain and len(model.peft_config) == 1 and is_mergeable(model) and list_frozen(model) is not None


class SharedMemory:
    """Memory of no name that a child process maps by its number; it holds one model's weights at a time."""

    def __init__(self) -> None:
        self.number = os.memfd_create("likelier weights")

    def write(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, Any]:
        """Write tensors; returns the `size` in bytes and the `layout`: name, type, shape and first byte of each."""
        layout, end = [], 0
        for name, tensor in weights:
            start = -(-end // ALIGNMENT) * ALIGNMENT
            plain = tensor.detach().to("cpu").contiguous()
            end = start + plain.numel() * plain.element_size()
            write_all(self.number, memoryview(plain.reshape(-1).view(torch.uint8).numpy().data), start)
            layout.append((name, str(plain.dtype).removeprefix("torch."), list(plain.shape), start))
        return {"size": end, "layout": layout}

    def clear(self) -> None:
        """Give the memory back."""
        os.ftruncate(self.number, 0)

    def close(self) -> None:
        """Close it on this side."""
        os.close(self.number)


def write_all(number: int, content: memoryview, start: int) -> None:
    """Write bytes at a place of an open file; one call of the system may write a part only."""
    while content:
        written = os.pwrite(number, content, start)
        content, start = content[written:], start + written
