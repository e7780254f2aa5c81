"""A plain model from one with adapters or stored weights, made in memory layer by layer: no second copy in float32."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from likelier.errors import LikelierError, NumericError
from likelier.runs.folder import find_model
from likelier.text.adapters import copy_sharing_weights, list_adapter, merge_weight, save_adapter, untie_adapted
from likelier.text.convention import mark_made
from likelier.text.frozen_weights import FROZEN, Quantised, QuantisedConv1D, QuantisedLinear, find_compute_dtype
from likelier.text.models import context_length, find_own_dtype, save_model, vocabulary_size
from likelier.text.padding import unpadded_inputs
from likelier.training.precision import full_precision

PLAIN: dict[type, Any] = {frozen: plain for plain, frozen in FROZEN.items()}
PLAIN |= {QuantisedLinear: nn.Linear, QuantisedConv1D: Conv1D}
"""The class of a layer whose weight is stored, before it was."""


def save_trained(
    folder: Path, base: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str
) -> None:
    """Write the folder `model`; with LoRA the base with the adapter merged in, and the folder `adapter` beside it.

    The merged model is written in the type of the base's folder; a model that was trained whole in float32, for
    rounding would undo small steps.

    LikelierError: the merged model is not what was trained; `model` is not written then, `adapter` is.
    """
    mark_made(tokenizer)
    if model._hf_peft_config_loaded:
        base = find_model(base)
        save_adapter(folder / "adapter", base, model, tokenizer, list_whole_layers(model))
        merged = make_plain(model, find_own_dtype(base), folder / "adapter")
        check_merged(model, merged, folder / "adapter")
        model = merged
    save_model(folder / "model", model, tokenizer, card)


def list_whole_layers(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers that are trained whole beside an adapter."""
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad and ".lora_" not in name]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in trained))


@torch.no_grad()
def make_plain(model: PreTrainedModel, dtype: torch.dtype, adapter: Path | None = None) -> PreTrainedModel:
    """Return the model on the CPU in `dtype`, with adapters merged into their layers and stored weights unpacked.

    `model` stays as it is; weights that are in `dtype` on the CPU already are shared with it. LikelierError: a merged
    layer gives other numbers than the one with its adapter; `adapter` is the folder that the message names.
    """
    plain = copy_sharing_weights(model, list_adapter(model))
    if model._hf_peft_config_loaded:
        from peft.tuners.lora import LoraLayer

        untie_adapted(plain)
        for name, layer in list(plain.named_modules()):
            if isinstance(layer, LoraLayer):
                plain.set_submodule(name, merge_layer(layer, name, dtype, adapter))
        plain._hf_peft_config_loaded = False
        del plain.peft_config
    # Two layers may share a weight. The old ones are kept to the end, so that their numbers stay theirs.
    old = list(plain.parameters())
    converted = {id(weight): convert(weight, dtype) for weight in old}
    for module in plain.modules():
        unpack_layer(module)
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, converted[id(weight)] if id(weight) in converted else convert(weight, dtype))
    nn.Module.to(plain, "cpu")
    plain.eval()
    return plain


def convert(weight: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """Return a weight in `dtype` on the CPU, the same memory if it is so already."""
    return nn.Parameter(weight.detach().to("cpu", dtype), requires_grad=False)


@full_precision()
def merge_layer(layer: Any, name: str, dtype: torch.dtype, adapter: Path | None) -> nn.Module:
    """Return the base of a layer as a plain one with its adapters added, in `dtype` on the CPU. LikelierError: see
    `make_plain`."""
    base, weight = layer.get_base_layer(), merge_weight(layer)
    inputs = make_inputs(base, weight)
    wanted = layer(inputs)
    unpack_layer(base, weight)
    found = base(inputs)
    # Half of the digits of float32: rounding stays below, a matrix that was left out or turned round is far above.
    tolerance = torch.finfo(torch.float32).eps ** 0.5 * float(wanted.abs().max())
    if not math.isfinite(tolerance):
        raise NumericError(f"{adapter}: {name} gives numbers that are not finite: its weights are damaged")
    if not torch.allclose(found, wanted, rtol=0, atol=tolerance, equal_nan=True):
        off = float((found - wanted).abs().max())
        raise LikelierError(
            f"{adapter}: merged into {name} it gives numbers up to {off:.2g} from those of the layer that was trained; "
            "no merged model is written: use the adapter with its base, by peft"
        )
    base.weight = convert(weight, dtype)
    assert isinstance(base, nn.Module)
    return base


def make_inputs(base: Any, weight: Tensor) -> Tensor:
    """Return two rows, or some tokens, that a layer can read."""
    if isinstance(base, nn.Embedding):
        return torch.arange(min(16, len(weight)), device=weight.device)
    size = weight.shape[0 if isinstance(base, Conv1D) else 1]
    return torch.linspace(-1, 1, 2 * size, device=weight.device).view(2, size)


def unpack_layer(layer: nn.Module, weight: Tensor | None = None) -> None:
    """Make a layer whose weight is stored one of the plain class again, and give it a weight, by default its own."""
    kind = next((PLAIN[each] for each in type(layer).__mro__ if each in PLAIN), type(layer))
    if isinstance(layer, Quantised):
        weight = layer.dequantise() if weight is None else weight
        for name in list(layer._buffers):
            delattr(layer, name)
    layer.__class__ = kind
    if weight is not None:
        layer.weight = nn.Parameter(weight, requires_grad=False)


@torch.no_grad()
@full_precision()
def check_merged(trained: PreTrainedModel, merged: PreTrainedModel, adapter: Path) -> None:
    """LikelierError: the model with its adapter and the merged one give three short texts other log-probabilities."""
    size = min(16, context_length(merged))
    tokens = (torch.arange(3 * size) * 7 + 5).view(3, size) % vocabulary_size(merged)
    ours, theirs = (
        each(**unpadded_inputs(tokens.to(each.device))).logits.cpu().double().log_softmax(-1)
        for each in (trained, merged)
    )
    # Half of the digits that the type has: rounding of W + BA stays below, a matrix that was left out is far above.
    types = find_compute_dtype(trained), merged.dtype
    tolerance = max(torch.finfo(each).eps for each in types) ** 0.5
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
        off = float((ours - theirs).abs().max())
        raise LikelierError(
            f"{adapter}: merged into its base it gives log-probabilities up to {off:.2g} nats from those of the model "
            "that was trained; no merged model is written: use the adapter with its base, by peft"
        )
