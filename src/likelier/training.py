"""What every training loop stands on: device, seeds, optimizer, schedule, numeric guard, state on disk.

Whatever is random in a step is drawn from a generator made of (seed, step, purpose). So a checkpoint needs no random
state, and saving cannot change a result.
"""

import contextlib
import hashlib
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from likelier.config import Training
from likelier.errors import ConfigError, NumericError
from likelier.records import read_json, write_json


def pick_device(name: str) -> torch.device:
    """`auto`: CUDA, then Apple's MPS, then the CPU. ConfigError: the named device is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device]))
    if name not in available:
        raise ConfigError(f"device: {name!r} is none of auto, {', '.join(available)}")
    if not available[name]:
        raise ConfigError(f"device: {name} is not available here; use auto")
    return torch.device(name)


MAX_KEPT = 5
"""Bad batches kept in a run."""


def seeded_generator(seed: int, step: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on these three and nothing else."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 forward passes over fp32 weights, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def make_optimizer(groups: Iterable[tuple[Iterable[nn.Parameter], float]], config: Training) -> torch.optim.AdamW:
    """AdamW over (parameters, peak learning rate) groups; the peak is kept in the group for the schedule.

    Fused: one pass over the memory instead of one an operation, ten times faster on a CPU.
    """
    kept = [{"params": [p for p in parameters if p.requires_grad], "lr": lr, "peak": lr} for parameters, lr in groups]
    return torch.optim.AdamW(kept, eps=config.adam_eps, weight_decay=config.weight_decay, fused=True)


def schedule(step: int, total: int, config: Training) -> float:
    """Factor on the learning rate at `step` (from 0) of `total`: warm-up, then constant, linear or cosine to 0."""
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[config.lr_schedule]


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to `factor` times its peak; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
    return float(optimizer.param_groups[0]["lr"])


class Guard:
    """Counts updates that were skipped because a number was not finite, and stops the run after too many in a row.

    With a `folder`, the first batch of each row of them is kept there: its tensors in `bad-batch-<step>.safetensors`,
    what was computed from them in `bad-batch-<step>.json`; at most `MAX_KEPT` in a run.
    """

    def __init__(self, max_in_a_row: int, folder: Path | None = None) -> None:
        self.max_in_a_row, self.folder = max_in_a_row, folder
        self.step, self.in_a_row, self.skipped = 0, 0, 0

    def at(self, step: int) -> Self:
        """The guard, told which step begins."""
        self.step = step
        return self

    def ok(self) -> None:
        self.in_a_row = 0

    def skip(self, reason: str, batch: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
        """One update was left out. NumericError (exit 4) at the last one allowed, with where the first batch is."""
        self.in_a_row, self.skipped = self.in_a_row + 1, self.skipped + 1
        if self.in_a_row == 1:
            self.keep(reason, batch, found)
        if self.in_a_row >= self.max_in_a_row:
            kept = self.kept()
            where = f"; a batch that led to this is in {kept[-1]}" if kept else ""
            raise NumericError(
                f"{reason} {self.in_a_row} updates in a row; lower the learning rate or check the rewards{where}"
            )

    def keep(self, reason: str, batch: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
        if self.folder is None or len(self.kept()) >= MAX_KEPT:
            return
        name = self.folder / f"bad-batch-{self.step}"
        save_file({key: value.detach().cpu().contiguous() for key, value in batch.items()}, f"{name}.safetensors")
        told = {key: str(float(value)) if isinstance(value, Tensor) else value for key, value in found.items()}
        write_json(Path(f"{name}.json"), {"step": self.step, "reason": f"{reason} this update", **told})

    def kept(self) -> list[Path]:
        """The batches kept so far, in the order of their steps."""
        files = self.folder.glob("bad-batch-*.safetensors") if self.folder else []
        return sorted(files, key=lambda path: int(path.stem.rpartition("-")[2]))

    def counts(self) -> dict[str, int]:
        """What a checkpoint holds of it."""
        return {"in_a_row": self.in_a_row, "skipped": self.skipped}

    def restore(self, counts: Mapping[str, int]) -> None:
        self.in_a_row, self.skipped = counts["in_a_row"], counts["skipped"]


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """What the disk says while tensors are written, as Python's own error: safetensors wraps it in one of its own."""
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def trained_weights(module: nn.Module) -> nn.ParameterList:
    """The very parameters that are trained: all that a checkpoint needs beside a frozen base."""
    return nn.ParameterList([weight for weight in module.parameters() if weight.requires_grad])


def save_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, extra: Mapping[str, Any]
) -> None:
    """Write weights, optimizer and `extra` (JSON) into a checkpoint folder: safetensors and JSON only.

    NumericError: one of these numbers is not finite; older checkpoints stand.
    """
    packed = optimizer.state_dict()
    tensors = {f"{at}/{key}": value for at, entry in packed["state"].items() for key, value in entry.items()}
    check_finite(tensors, "the optimizer's state")
    with as_os_errors():
        for name, module in modules.items():
            check_finite(module.state_dict(), "the weights")
            save_model(module, str(folder / f"{name}.safetensors"))
        save_file(tensors, folder / "optimizer.safetensors")
    write_json(folder / "trainer_state.json", dict(extra))


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """NumericError: one is not. A step that overflows shows in no loss before it, so saving looks once more."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericError(f"{name} in {what} is not finite; lower the learning rate and resume")


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read back what `save_state` wrote, in place; returns `extra`."""
    for name, module in modules.items():
        load_model(module, folder / f"{name}.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        at, key = name.split("/")
        state.setdefault(int(at), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    extra: dict[str, Any] = read_json(folder / "trainer_state.json")
    return extra


def save_module(path: Path, module: nn.Module) -> None:
    """Weights as safetensors."""
    save_model(module, str(path))


def load_module(path: Path, module: nn.Module) -> None:
    load_model(module, path)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Named arrays as safetensors, bit by bit."""
    save_file({name: torch.from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()}, path)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in load_file(path).items()}


class Clock:
    """Seconds of each phase of a step, for `timing.jsonl`."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[f"{name}_seconds"], self.last = now - self.last, now
