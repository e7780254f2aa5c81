"""Gradient checkpointing: layers keep their inputs alone, and run again in the backward pass (Chen et al. 2016)."""

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from likelier.config import Memory
from likelier.errors import ConfigError

run_twice = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
"""Without random state: dropout is off."""


def check_checkpointable(model: PreTrainedModel, memory: Memory, block: str) -> None:
    """ConfigError: the settings in `block` ask for it, and the model has no layers that can be run again."""
    if memory.gradient_checkpointing and not list_layers(model):
        name = model.config.model_type
        raise ConfigError(f"{block}.gradient_checkpointing: {name} has no layers that run again alone; leave it out")


def list_layers(model: nn.Module) -> list[GradientCheckpointingLayer]:
    """Return the layers that can be run again by themselves."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextlib.contextmanager
def checkpoint_layers(active: bool, *models: nn.Module | None) -> Iterator[None]:
    """Run the layers of models in checkpoints, if `active` and gradients are computed.

    transformers asks for training mode, in which models may do more than we want (dropout, jitter in the routing of
    experts). So only the layers themselves say that they are in it, and only here: in sampling they would drop the
    cache of keys and values.
    """
    layers = [layer for model in models if model is not None for layer in list_layers(model)]
    if not (active and torch.is_grad_enabled()):
        layers = []
    for layer in layers:
        layer.gradient_checkpointing, layer.training = True, True
        layer._gradient_checkpointing_func = run_twice  # type: ignore[assignment]  # an attribute to transformers
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing, layer.training = False, False
