"""Memory of a run by part and phase."""

import resource
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from likelier.config.base import OptimizerName
from likelier.plan.machine import Machine
from likelier.plan.trace import count_bytes

PARTS = (
    "process",
    "weights",
    "adapters",
    "optimizer",
    "gradients",
    "activations",
    "logits",
    "cache",
    "engine",
    "other",
)
CUDA_CONTEXT = 600_000_000
"""Bytes that a process takes of a GPU before its first tensor."""
MOMENT_BYTES: Mapping[OptimizerName, int] = {"adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2}
"""Bytes of the two moments of a weight."""

KEPT_SHARE = 0.5
"""Of memory that was freed in small blocks, the share that a CPU's process keeps without using it again: 0 to 1 were
measured, and with one half each of eleven runs is within 12 % of its plan (docs/results.md)."""


@dataclass(frozen=True)
class Phase:
    """A time of a run, and the most memory that it takes."""

    name: str
    parts: Mapping[str, int]
    """Bytes by part; those that are 0 are left out."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


def add_parts(*groups: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of parts, in the order of `PARTS`."""
    return {part: size for part in PARTS if (size := sum(group.get(part, 0) for group in groups))}


def hold_models(
    models: Iterable[nn.Module], trained: int, optimizer: OptimizerName, machine: Machine, process: int, kept: int
) -> dict[str, int]:
    """Return what a stage holds all the time: models, the state of the optimizer of so many trained weights, the
    process (on a GPU its context), and on a CPU its share of `kept`, the most bytes in small blocks."""
    held = split_weights(models) | {"optimizer": MOMENT_BYTES[optimizer] * trained}
    held["process"] = process if machine.is_cpu else CUDA_CONTEXT
    return add_parts(held, {"other": int(KEPT_SHARE * kept) * machine.is_cpu})


def measure_process() -> int:
    """Return the bytes that this process holds, which is Python and its libraries before any model is built."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def split_weights(modules: Iterable[nn.Module]) -> dict[str, int]:
    """Return the bytes of weights and of adapters; what modules share counts once."""
    named = [(name, tensor) for each in modules for name, tensor in [*each.named_parameters(), *each.named_buffers()]]
    adapters = count_bytes(tensor for name, tensor in named if "lora_" in name)
    return {"weights": count_bytes(tensor for _, tensor in named) - adapters, "adapters": adapters}
