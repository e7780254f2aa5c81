"""Memory of one of several processes in a stage whose weights are sharded (`shard`, docs/gpus.md)."""

from collections.abc import Iterable

from torch import nn

from likelier.plan.memory import Phase, add_parts
from likelier.plan.trace import count_bytes
from likelier.text.checkpoint_layers import list_layers

DIVIDED = frozenset({"weights", "adapters", "optimizer", "gradients"})


def divide_phase(phase: Phase, count: int, gathered: int) -> Phase:
    """Return a phase with an n-th of what is sharded, and bytes of weights that are gathered for a while."""
    parts = {part: -(-size // count) if part in DIVIDED else size for part, size in phase.parts.items()}
    return Phase(phase.name, add_parts(parts, {"weights": gathered}))


def count_gathered(models: Iterable[nn.Module], trains: bool = False) -> int:
    """Return the bytes that a pass through one of the models has gathered at a time, at most.

    These are a layer and the next one, and what stands beside the layers, which is a group of its own. `trains`: beside
    them the gradient of the largest group, before it is summed into the parts.
    """
    return max(count_groups(model, trains) for model in models)


def count_groups(model: nn.Module, trains: bool) -> int:
    """Return the bytes that a pass through a model has gathered at a time, see `count_gathered`."""
    layers = sorted(count_bytes(layer.parameters()) for layer in list_layers(model))
    beside = count_bytes(model.parameters()) - sum(layers)
    return beside + sum(layers[-2:]) + (max(beside, *layers[-1:]) if trains else 0)
