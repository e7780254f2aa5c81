"""AdamW with moments in 8 bits by bitsandbytes: 2 bytes a trained weight in place of 8 (Dettmers et al. 2022).

The moments of 256 weights share a scale. Tensors of fewer than 4,096 weights keep theirs in float32.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from likelier.config import OptimizerName
from likelier.errors import ConfigError

SAVED = ("state1", "state2", "absmax1", "absmax2")
"""Tensors of a weight's state in a checkpoint; the tables of values are the same for all."""


def check_optimizer(name: OptimizerName, device: torch.device, block: str) -> None:
    """ConfigError: an optimizer that bitsandbytes lacks for this device, or bitsandbytes is not installed."""
    if name == "adamw":
        return
    if name == "paged_adamw_8bit" and device.type != "cuda":
        raise ConfigError(
            f"{block}.optimizer: paged_adamw_8bit needs CUDA, and this is {device.type}: only memory of a GPU is paged;"
            " set adamw_8bit or adamw"
        )
    if device.type not in ("cpu", "cuda", "xpu"):
        raise ConfigError(f"{block}.optimizer: bitsandbytes has no {name} for {device.type}; set adamw")
    import_optimizers()


def import_optimizers() -> Any:
    """Import the optimizers of bitsandbytes. ConfigError: it is not installed."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it names each kernel that it has not
    try:
        import bitsandbytes.optim
    except ImportError as error:
        raise ConfigError("optimizer: 8 bits need bitsandbytes: pip install 'likelier[quantised]'") from error
    return bitsandbytes.optim


def make_eight_bit(groups: list[dict[str, Any]], name: OptimizerName, eps: float, weight_decay: float) -> Optimizer:
    """Make an AdamW of bitsandbytes from groups of parameters, which may be empty."""
    kinds = {"adamw_8bit": "AdamW8bit", "paged_adamw_8bit": "PagedAdamW8bit"}
    optimizer: Optimizer = getattr(import_optimizers(), kinds[name])(groups, eps=eps, weight_decay=weight_decay)
    return optimizer


def is_eight_bit(optimizer: Optimizer) -> bool:
    """True for an optimizer of `make_eight_bit`."""
    return type(optimizer).__module__.startswith("bitsandbytes.")


def number_parameters(optimizer: Optimizer) -> Iterator[tuple[int, int, int, nn.Parameter]]:
    """Yield (number in the optimizer, number of the group, number in the group, parameter)."""
    number = 0
    for at, group in enumerate(optimizer.param_groups):
        for within, parameter in enumerate(group["params"]):
            yield number, at, within, parameter
            number += 1


def pack_eight_bit(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """Return the tensors of each parameter that has a state, and its count of steps as one."""
    packed = {}
    for number, _, _, parameter in number_parameters(optimizer):
        if state := optimizer.state.get(parameter):
            packed[number] = {name: state[name] for name in SAVED if name in state}
            packed[number]["step"] = torch.tensor(state["step"])
    return packed


def load_eight_bit(optimizer: Any, packed: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Load the output of `pack_eight_bit` into memory that bitsandbytes allocates, paged where it pages."""
    for number, at, within, parameter in number_parameters(optimizer):
        if number not in packed:
            continue
        optimizer.init_state(optimizer.param_groups[at], parameter, at, within)
        state = optimizer.state[parameter]
        for name, value in packed[number].items():
            if name == "step":
                state[name] = int(value)
            else:
                state[name].copy_(value)
