"""Frozen weights in few bytes: matrices are stored in 16, 8 or 4 bits, and computed with in float32 or under autocast.

A product unpacks its matrix, uses it, and forgets it, again in the backward pass; so the numbers are those of a float32
model with rounded weights, and nothing else changes. 4 bits are NF4 with double quantisation (Dettmers et al. 2023,
"QLoRA"), 8 bits blockwise with a dynamic data type (Dettmers et al. 2022), both by bitsandbytes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.config import Memory, ModelDtype
from likelier.errors import ConfigError
from likelier.training.precision import has_bfloat16

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
BLOCK = 64
"""Weights that share a scale, in 4 and 8 bits."""


def choose_dtype(wanted: ModelDtype | None, device: torch.device) -> ModelDtype:
    """Return the type that frozen weights are stored in: by default bfloat16 on a GPU that has it, else float32."""
    if wanted is not None:
        return wanted
    return "bfloat16" if has_bfloat16(device) else "float32"


def choose_base_dtype(memory: Memory, device: torch.device) -> ModelDtype:
    """Return the type of the model that is trained, or of the base under its adapter."""
    return "float32" if memory.lora_rank is None else choose_dtype(memory.model_dtype, device)


def find_compute_dtype(model: PreTrainedModel) -> torch.dtype:
    """Return the type of a model's hidden states: float32 or finer, whatever its weights are stored in."""
    return torch.promote_types(model.dtype, torch.float32)


def store_weights(
    model: PreTrainedModel,
    dtype: ModelDtype,
    keep: Sequence[str] = (),
    pack_layer: Callable[[Any, ModelDtype], None] | None = None,
) -> None:
    """Freeze the matrices of a model and store them in fewer bytes, in place; float32 leaves it as it is.

    Of 4 and 8 bits embeddings and output layer have 16. What is no plain linear layer or embedding stays as it is, and
    so do the layers `keep`. `pack_layer`: by default `pack`. ConfigError: bitsandbytes is not installed.
    """
    if dtype == "float32":
        return
    output = None if dtype in HALVES else model.get_output_embeddings()
    for layer in list_matrices(model, keep):
        if isinstance(layer, nn.Embedding) or layer is output or dtype in HALVES:
            half = HALVES.get(dtype, torch.bfloat16)
            layer.weight.requires_grad_(False).data = layer.weight.data.to(half)
            layer.__class__ = FROZEN[type(layer)]
        else:
            (pack_layer or pack)(layer, dtype)
    for module in model.modules():  # norms and what else a folder in 16 bits holds
        if not isinstance(module, (*STORED, FrozenEmbedding)):
            for weight in module.parameters(recurse=False):
                weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))


def list_matrices(model: PreTrainedModel, keep: Sequence[str]) -> list[Any]:
    """Return the plain linear layers and embeddings of a model outside the layers `keep`.

    Without those that share their weight with another layer: Gemma's embedding scales in the type of its weight.
    """
    starts = tuple(f"{name}." for name in keep)
    found: list[Any] = []
    others: set[int] = set()
    for name, layer in model.named_modules():
        if type(layer) in FROZEN and not f"{name}.".startswith(starts):
            found.append(layer)
        else:
            others |= {id(weight) for weight in layer.parameters(recurse=False)}
    return [layer for layer in found if id(layer.weight) not in others]


class FrozenProduct(torch.autograd.Function):
    """`x W^T` with a stored `W`. The graph keeps the stored one, where autograd would keep what was unpacked."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, dtype: torch.dtype) -> Tensor:
        """Return the product in `dtype`; `layer.unpack` gives `W`, [out, in]."""
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.linear(x.to(dtype), layer.unpack(dtype))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of `x`; the weights are frozen."""
        (gradient,) = upstream
        return (gradient @ ctx.layer.unpack(gradient.dtype)).to(ctx.dtype), None, None


def multiply(layer: Any, x: Tensor) -> Tensor:
    """Apply a stored linear layer, in the type of autocast or of `x`."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    product: Tensor = FrozenProduct.apply(x, layer, dtype)  # type: ignore[no-untyped-call]
    return product if layer.bias is None else product + layer.bias.to(product.dtype)


class FrozenLinear(nn.Linear):
    """A linear layer whose weight is stored in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """See `multiply`."""
        return multiply(self, input)

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight, [out, in]."""
        return self.weight.to(dtype)


class FrozenConv1D(Conv1D):
    """GPT-2's linear layer, whose weight is [in, out], stored in 16 bits."""

    def forward(self, x: Tensor) -> Tensor:
        """See `multiply`."""
        return multiply(self, x)

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight, [out, in]."""
        return self.weight.to(dtype).t()


class FrozenEmbedding(nn.Embedding):
    """An embedding stored in 16 bits that gives hidden states in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Hidden states of tokens."""
        return super().forward(input).float()


class Quantised:
    """A weight in 4 or 8 bits, as buffers, so that copies of the modules share them."""

    def dequantise(self) -> Tensor:
        """Return the weight in float32, in the orientation of the layer."""
        layer: Any = self
        functional = import_bitsandbytes()
        how = {"absmax": layer.absmax, "code": layer.code, "blocksize": BLOCK, "dtype": torch.float32}
        weight: Tensor
        if layer.bits == 8:
            weight = functional.dequantize_blockwise(layer.packed, functional.QuantState(**how))
        else:
            scales = functional.QuantState(layer.nested, code=layer.nested_code, blocksize=256, dtype=torch.float32)
            how |= {"shape": layer.shape, "quant_type": "nf4", "offset": layer.offset, "state2": scales}
            weight = functional.dequantize_4bit(layer.packed, functional.QuantState(**how))
        return weight


class QuantisedLinear(Quantised, FrozenLinear):
    """A linear layer whose weight is stored in 4 or 8 bits."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, unpacked for whoever looks at it."""
        return self.dequantise()

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight, [out, in]."""
        return self.dequantise().to(dtype)


class QuantisedConv1D(Quantised, FrozenConv1D):
    """GPT-2's linear layer whose weight is stored in 4 or 8 bits."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, unpacked for whoever looks at it."""
        return self.dequantise()

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight, [out, in]."""
        return self.dequantise().to(dtype).t()


FROZEN: dict[type, Any] = {nn.Linear: FrozenLinear, Conv1D: FrozenConv1D, nn.Embedding: FrozenEmbedding}
"""The class that a layer of a plain class gets; a subclass of a model's own may compute something else."""
STORED = (FrozenLinear, FrozenConv1D)
"""Linear layers whose weights are stored."""


def pack(layer: Any, dtype: ModelDtype) -> None:
    """Store the weight of a linear layer in 4 or 8 bits, in place."""
    functional = import_bitsandbytes()
    weight = layer.weight.data.float()
    if dtype == "4bit":
        packed, state = functional.quantize_4bit(weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
        buffers = {"nested": state.state2.absmax, "nested_code": state.state2.code, "offset": state.offset}
    else:
        packed, state = functional.quantize_blockwise(weight, blocksize=BLOCK)
        buffers = {}
    layer.bits, layer.shape = (4 if dtype == "4bit" else 8), weight.shape
    del layer.weight
    for name, tensor in {"packed": packed, "absmax": state.absmax, "code": state.code, **buffers}.items():
        layer.register_buffer(name, tensor)
    layer.__class__ = QuantisedConv1D if isinstance(layer, Conv1D) else QuantisedLinear


@functools.cache
def import_bitsandbytes() -> Any:
    """Import the functions of bitsandbytes. ConfigError: it is not installed."""
    try:
        import bitsandbytes.functional
    except ImportError as error:
        raise ConfigError("model_dtype: 4bit and 8bit need bitsandbytes: pip install 'likelier[quantised]'") from error
    return bitsandbytes.functional
