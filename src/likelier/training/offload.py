"""CPU offload: what a phase of training does not use waits in the CPU's memory."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from likelier.errors import ConfigError

CPU = torch.device("cpu")


def check_offload(offload: bool, device: torch.device, block: str) -> None:
    """ConfigError: `offload` is asked for on a device that has no memory of its own."""
    if offload and device.type in ("cpu", "mps"):
        raise ConfigError(
            f"{block}.offload: moves what is not used out of a GPU's memory into the CPU's, and this is {device.type}, "
            "where both are one; leave it out"
        )


class Offload:
    """Moves frozen models and the state of an optimizer to a device for the phases that use them.

    Numbers are copied, never computed, so that no bit changes. A frozen weight has one copy on the CPU that is never
    written again: to put it away costs nothing, to bring it one way over the bus. Without groups nothing is moved.
    """

    def __init__(
        self,
        device: torch.device = CPU,
        groups: Mapping[str, Sequence[nn.Module]] = {},
        kept: Iterable[nn.Module] = (),
    ) -> None:
        """`groups`: frozen models by the name of the phase that uses them. `kept`: models that stay on the device, with
        all weights that others share with them."""
        staying = {tensor.data_ptr() for module in kept for tensor in list_tensors(module)}
        self.device, self.is_on = device, bool(groups)
        self.groups = {
            name: [tensor for module in modules for tensor in list_tensors(module) if tensor.data_ptr() not in staying]
            for name, modules in groups.items()
        }
        self.host: dict[int, Tensor] = {}

    def put_away(self, *names: str) -> None:
        """Move the models of some phases to the CPU, by default of all."""
        for tensor in self.list_weights(names or tuple(self.groups)):
            if id(tensor) not in self.host:
                self.host[id(tensor)] = move(tensor.data, CPU)
            tensor.data = self.host[id(tensor)]

    @contextlib.contextmanager
    def bring(self, *names: str) -> Iterator[None]:
        """Have the models of some phases on the device, by default of all, and put them away again."""
        for tensor in self.list_weights(names or tuple(self.groups)):
            tensor.data = move(tensor.data, self.device)
        try:
            yield
        finally:
            self.put_away(*names)

    def list_weights(self, names: Sequence[str]) -> list[Tensor]:
        """Return the distinct weights of some phases."""
        return list({id(tensor): tensor for name in names for tensor in self.groups.get(name, ())}.values())

    @contextlib.contextmanager
    def bring_state(self, optimizer: Optimizer) -> Iterator[None]:
        """Have an optimizer's state on the device; afterwards it is on the CPU."""
        if not self.is_on:
            yield
            return
        move_state(optimizer, self.device)
        try:
            yield
        finally:
            move_state(optimizer, CPU)

    def put_state_away(self, optimizer: Optimizer) -> None:
        """Move an optimizer's state, which a checkpoint may just have brought, to the CPU."""
        if self.is_on:
            move_state(optimizer, CPU)


def list_tensors(module: nn.Module) -> list[Tensor]:
    """Return the weights and buffers of a module."""
    return [*module.parameters(), *module.buffers()]


def move_state(optimizer: Optimizer, device: torch.device) -> None:
    """Move the tensors of an optimizer's state, but for those that a GPU pages by itself; what is shared stays so."""
    moved: dict[int, Tensor] = {}
    for state in optimizer.state.values():
        entries: dict[str, Any] = state
        for name, value in entries.items():
            if isinstance(value, Tensor) and not getattr(value, "is_paged", False):
                if id(value) not in moved:
                    moved[id(value)] = move(value, device)
                entries[name] = moved[id(value)]


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; on the CPU in memory that a GPU reads without a copy."""
    if tensor.device.type == "cuda" and device.type == "cpu":
        pinned = torch.empty_like(tensor, device=device, pin_memory=True)
        return pinned.copy_(tensor)
    return tensor.to(device)
