"""Several heads on one trunk: an ensemble of reward models for the price of one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from likelier.errors import DataError
from likelier.text.reward_model import RewardModel, init_score_head
from likelier.training.state import as_os_errors

HEADS = "heads.safetensors"
"""File of all heads, in the folder of a model whose own head is their mean."""


def add_heads(reward: RewardModel, generators: Sequence[torch.Generator]) -> None:
    """Replace the head by several, each drawn as `init_score_head` does."""
    weights = []
    for generator in generators:
        init_score_head(reward.model, generator)
        weights.append(reward.head.weight.detach().clone())
    set_heads(reward, torch.cat(weights), None if reward.head.bias is None else torch.zeros(len(weights)))


def set_heads(reward: RewardModel, weight: Tensor, bias: Tensor | None) -> None:
    """Replace the last layer by one of the given weight, [heads, D], and bias, [heads]."""
    old = reward.head
    head = nn.Linear(old.in_features, len(weight), bias is not None, old.weight.device, old.weight.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        if bias is not None:
            head.bias.copy_(bias)
    parent, _, name = reward.head_name.rpartition(".")
    setattr(reward.model.get_submodule(parent), name, head)


def save_heads(folder: Path, weight: Tensor, bias: Tensor | None) -> None:
    """Write all heads beside the model's weights."""
    tensors = {"weight": weight} | ({} if bias is None else {"bias": bias})
    with as_os_errors():
        save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, folder / HEADS)


def load_heads(reward: RewardModel, folder: Path) -> None:
    """Give a model the heads that its folder holds, if it does. DataError: they do not fit."""
    if not (folder / HEADS).is_file():
        return
    tensors = load_file(folder / HEADS)
    weight, size = tensors.get("weight"), reward.head.in_features
    if weight is None or weight.ndim != 2 or weight.shape[1] != size:
        raise DataError(f"{folder / HEADS}: no heads on {size} dimensions; train the reward model again")
    set_heads(reward, weight, tensors.get("bias"))
