"""Weights, optimizer and counts in a checkpoint folder."""

import contextlib
import copy
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from likelier.distributed import gather_tensor, get_rank, is_sharded, local_part
from likelier.errors import NumericError
from likelier.files import read_json, write_json
from likelier.training.eight_bit import is_eight_bit, load_eight_bit, number_parameters, pack_eight_bit


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


def copy_weights(module: nn.Module) -> nn.Module:
    """Copy a module; of a sharded one the weights alone, under the same names."""
    weights = module.state_dict(keep_vars=True)
    if not any(is_sharded(weight) for weight in weights.values()):
        return copy.deepcopy(module)
    copied, copies = nn.Module(), {id(weight): weight.detach().clone() for weight in weights.values()}
    for name, weight in weights.items():
        owner, *path = [copied, *name.split(".")]
        for part in path[:-1]:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(path[-1], nn.Parameter(copies[id(weight)], requires_grad=False))
    return copied


def save_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, extra: Mapping[str, Any]
) -> None:
    """Write weights, optimizer and `extra` (JSON) into a checkpoint folder: safetensors and JSON only.

    Sharded tensors are gathered and written whole by rank 0; the other processes must come here too.
    NumericError: one of these numbers is not finite; older checkpoints are kept.
    """
    packed = pack_eight_bit(optimizer) if is_eight_bit(optimizer) else optimizer.state_dict()["state"]
    tensors = {f"{at}/{key}": value for at, entry in packed.items() for key, value in entry.items()}
    tensors = gather_tensors(tensors)
    check_finite(tensors, "the optimizer's state")
    with as_os_errors():
        for name, module in modules.items():
            whole = gather_module(module)
            check_finite(whole.state_dict(), "the weights")
            if get_rank() == 0:
                save_model(whole, str(folder / f"{name}.safetensors"))
        if get_rank() == 0:
            save_file(tensors, folder / "optimizer.safetensors")
    write_json(folder / "trainer_state.json", dict(extra))


class WholeWeights(nn.Module):
    """Tensors by name, as safetensors takes them from a module: it writes a shared one once."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the tensors by name."""
        return dict(self.weights)


def gather_module(module: nn.Module) -> nn.Module:
    """Return the weights of a sharded module, whole in rank 0; any other module itself."""
    weights = module.state_dict(keep_vars=True)
    return WholeWeights(gather_tensors(weights)) if any(map(is_sharded, weights.values())) else module


def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather sharded tensors one by one in rank 0; the other processes get no tensors, unless they are not sharded."""
    if not any(map(is_sharded, tensors.values())):
        return dict(tensors)
    gathered: dict[int, Tensor | None] = {}  # two names may have one tensor
    for tensor in tensors.values():
        if id(tensor) not in gathered:
            gathered[id(tensor)] = gather_tensor(tensor, to_rank_0=True)
    named = ((name, gathered[id(tensor)]) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in named if tensor is not None}


def check_finite(tensors: Mapping[str, Tensor], kind: str) -> None:
    """NumericError: a weight is not finite, as after an overflow in the last step, which no loss has shown yet."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericError(f"{name} in {kind} is not finite; lower the learning rate and resume")


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Load the output of `save_state` in place; returns `extra`. Of sharded weights each process loads its part."""
    for name, module in modules.items():
        load_weights(module, folder / f"{name}.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    parameters = {at: weight for at, _, _, weight in number_parameters(optimizer)}
    with safe_open(folder / "optimizer.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            at, key = name.split("/")
            state.setdefault(int(at), {})[key] = take_part(file.get_tensor(name), parameters[int(at)])
    if is_eight_bit(optimizer):
        load_eight_bit(optimizer, state)
    else:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    extra: dict[str, Any] = read_json(folder / "trainer_state.json")
    return extra


@torch.no_grad()
def load_weights(module: nn.Module, path: Path) -> None:
    """Load the weights of a module; of sharded ones this process's part. RuntimeError: others than the module's."""
    own = module.state_dict(keep_vars=True)
    if not any(is_sharded(weight) for weight in own.values()):
        load_model(module, path)
        return
    with safe_open(path, "pt") as file:
        found = set(file.keys())
        missing = {id(own[name]) for name in own} - {id(own[name]) for name in found & set(own)}
        if missing or found - set(own):
            raise RuntimeError(f"{path}: weights of another model")
        for name in sorted(found):
            local_part(own[name]).copy_(local_part(take_part(file.get_tensor(name), own[name])))


def take_part(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor sharded like another one of its shape; if that is not sharded, or of another shape, itself."""
    if not is_sharded(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    # Every process reads the file, so that nothing is sent.
    return distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None)


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
