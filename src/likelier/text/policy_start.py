"""The start of a policy: a model, or a LoRA adapter on one, from peft, TRL or an earlier run."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from likelier.config import LoRA, ModelDtype
from likelier.errors import DataError
from likelier.runs.folder import is_adapter
from likelier.text.adapter_folders import Adapter, check_settings, read_adapter
from likelier.text.adapters import FrozenBase, copy_sharing_weights, mark_untied, put_adapter_on
from likelier.text.frozen_weights import Quantised, store_weights
from likelier.text.merging import make_plain, unpack_layer
from likelier.text.models import load_causal_lm


class PolicyStart(NamedTuple):
    """A policy before its first step."""

    model: PreTrainedModel
    bare: FrozenBase | None
    """The base of an adapter that goes on, without it; None where there is none yet."""


def load_start(
    path: str, lora: LoRA, block: str, device: torch.device | str = "cpu", dtype: ModelDtype = "float32"
) -> PolicyStart:
    """Load what training begins with. An adapter goes on if the settings in `block` have its rank, and is merged into
    its base if they have none.

    ConfigError: they ask for another adapter. DataError: see `load_causal_lm` and `read_adapter`.
    """
    if lora.lora_rank is None or not is_adapter(Path(path)):
        return PolicyStart(load_language_model(path, device, dtype), None)
    adapter = read_adapter(Path(path))
    check_settings(adapter, lora, block)
    model = load_causal_lm(adapter.base, device, dtype)
    bare = FrozenBase(adapter.base, copy_sharing_weights(model), dtype)
    put_policy_adapter_on(model, adapter)
    return PolicyStart(model, bare)


def load_language_model(
    path: str | Path, device: torch.device | str = "cpu", dtype: ModelDtype = "float32"
) -> PreTrainedModel:
    """Load a language model as `load_causal_lm` does; an adapter is merged into its base, also one with whole layers.

    DataError: see `load_causal_lm` and `read_adapter`.
    """
    if not is_adapter(Path(path)):
        return load_causal_lm(path, device, dtype)
    adapter = read_adapter(Path(path))
    model = load_merged(adapter.base, adapter)
    store_weights(model, dtype)
    nn.Module.to(model, device)
    return model


def load_merged(base: str, adapter: Adapter) -> PreTrainedModel:
    """Load a base in float32 with an adapter merged into it: a plain model. DataError: see `load_causal_lm`."""
    adapted = load_causal_lm(base)
    put_policy_adapter_on(adapted, adapter)
    model = make_plain(adapted, torch.float32, adapter.folder)
    model.requires_grad_(True)
    return model


def put_policy_adapter_on(model: PreTrainedModel, adapter: Adapter, has_data: bool = True) -> None:
    """Freeze a language model, and add an adapter with the layers that it holds whole, all of them to be trained.

    `has_data`: False for a model on tensors without data. DataError: it is not of this model.
    """
    put_adapter_on(model, adapter, has_data=has_data)
    held = {name: weights for name, weights in adapter.layers.items() if has_data or adapter.trains(name)}
    layers = [replace_layer(model, name, weights, adapter) for name, weights in held.items()]
    replaced = [layer for layer in layers if layer is not None]
    if any(layer in (model.get_input_embeddings(), model.get_output_embeddings()) for layer in replaced):
        mark_untied(model)


def replace_layer(model: PreTrainedModel, name: str, weights: dict[str, Tensor], adapter: Adapter) -> nn.Module | None:
    """Give a layer weights of its own from an adapter, and return it; None where they are those of the base.

    DataError: the layer is none of this model, or was changed without having been trained.
    """
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise DataError(f"{adapter.folder}: its base {adapter.base} has no layer {name}") from error
    own: dict[str, Tensor] = dict(layer.named_parameters(recurse=False))
    own |= {"weight": layer.dequantise()} if isinstance(layer, Quantised) else {}
    shapes = [{key: list(each[key].shape) for key in sorted(each)} for each in (weights, own)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{adapter.folder}: {name} has {shapes[0]}, and in its base {adapter.base} {shapes[1]}; if tokens were "
            "added, merge the adapter with peft (merge_and_unload) and give the folder of that model"
        )
    if not adapter.trains(name):
        if all(torch.equal(value.to(own[key]), own[key]) for key, value in weights.items()):
            return None  # peft wrote them beside an adapter on embeddings
        raise DataError(f"{adapter.folder}: {name} differs from its base {adapter.base} and is not in modules_to_save")
    device = next(iter(own.values())).device
    unpack_layer(layer)
    for key, value in weights.items():
        setattr(layer, key, nn.Parameter(value.to(device, torch.float32)))
    return layer
