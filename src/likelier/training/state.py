"""Weights, optimizer and counts in a checkpoint folder."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from likelier.errors import NumericError
from likelier.files import read_json, write_json
from likelier.training.eight_bit import is_eight_bit, load_eight_bit, pack_eight_bit


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Convert safetensors' errors about a full disk to OSError."""
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def trained_weights(module: nn.Module) -> nn.ParameterList:
    """Return the trained parameters: all that a checkpoint needs if the base is frozen."""
    return nn.ParameterList([weight for weight in module.parameters() if weight.requires_grad])


def weights_to_save(module: nn.Module, lora_rank: int | None) -> nn.Module:
    """The module, or with an adapter only its trained parameters: the frozen base is in the model's folder."""
    return module if lora_rank is None else trained_weights(module)


def save_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, extra: Mapping[str, Any]
) -> None:
    """Write weights, optimizer and `extra` (JSON) into a checkpoint folder: safetensors and JSON only.

    NumericError: one of these numbers is not finite; older checkpoints are kept.
    """
    packed = pack_eight_bit(optimizer) if is_eight_bit(optimizer) else optimizer.state_dict()["state"]
    tensors = {f"{at}/{key}": value for at, entry in packed.items() for key, value in entry.items()}
    check_finite(tensors, "the optimizer's state")
    with as_os_errors():
        for name, module in modules.items():
            check_finite(module.state_dict(), "the weights")
            save_model(module, str(folder / f"{name}.safetensors"))
        save_file(tensors, folder / "optimizer.safetensors")
    write_json(folder / "trainer_state.json", dict(extra))


def check_finite(tensors: Mapping[str, Tensor], kind: str) -> None:
    """NumericError: a weight is not finite, as after an overflow in the last step, which no loss has shown yet."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericError(f"{name} in {kind} is not finite; lower the learning rate and resume")


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Load the output of `save_state` in place; returns `extra`."""
    for name, module in modules.items():
        load_model(module, folder / f"{name}.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        at, key = name.split("/")
        state.setdefault(int(at), {})[key] = tensor
    if is_eight_bit(optimizer):
        load_eight_bit(optimizer, state)
    else:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    extra: dict[str, Any] = read_json(folder / "trainer_state.json")
    return extra


def save_module(path: Path, module: nn.Module) -> None:
    """Save weights as safetensors."""
    save_model(module, str(path))


def load_module(path: Path, module: nn.Module) -> None:
    """Load weights saved by `save_module`. RuntimeError: those of another network, or no weights."""
    try:
        load_model(module, path)
    except SafetensorError as error:
        raise RuntimeError(f"{path}: {error}") from error


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Save named arrays as safetensors, bit by bit."""
    save_file({name: torch.from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()}, path)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Load arrays saved by `save_arrays`."""
    return {name: tensor.numpy() for name, tensor in load_file(path).items()}
