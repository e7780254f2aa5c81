"""Layers of a decoding step as plain functions: products, norms, rotary positions, attention of one token."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from likelier.text.cache import BLOCK, PreallocatedLayer
from likelier.text.frozen_weights import STORED
from likelier.text.models import upcast

Cast = Callable[[Tensor], Tensor]
"""Casts a weight to the type that products are computed in."""
MIN_PACKED_SIZE = 2**16
"""Least number of weights of a layer that gains from oneDNN's layout."""


class Block(NamedTuple):
    """One layer: hidden states `[B, D]` to query, key and value `[B, heads, size]`; attention output to hidden."""

    project: Callable[[Tensor, Any], tuple[Tensor, Tensor, Tensor]]
    finish: Callable[[Tensor, Tensor], Tensor]
    """(hidden states, attended values) -> hidden states behind the residual connections and the MLP."""
    scale: float
    """Factor on the attention scores."""
    window: int | None = None
    """Tokens that are attended to, the last one included; None: all."""
    softcap: float | None = None
    """Attention scores are kept below this by a tanh (Gemma 2); None: off."""


class FastDecoder(NamedTuple):
    """A model as plain functions."""

    embed: Callable[[Tensor, Tensor], tuple[Tensor, Any]]
    """(tokens, positions) -> hidden states, and the rotation by position that `Block.project` applies (None: none)."""
    blocks: list[Block]
    lm_head: Callable[[Tensor], Tensor]

    def step(self, tokens: Tensor, positions: Tensor, layers: list[PreallocatedLayer], mask: Tensor) -> Tensor:
        """Logits `[B, V]` after one more token of each row; `tokens` and `positions` are `[B]`.

        `mask` `[B, n]` is True for real tokens in the cache, this one included; n is a multiple of the block size.
        """
        hidden, rotation = self.embed(tokens, positions)
        excluded, newest = ~mask[:, None, None], layers[0].length
        views = {window: look_back(excluded, newest, window) for window in {block.window for block in self.blocks}}
        for block, layer in zip(self.blocks, layers, strict=True):
            query, key, value = block.project(hidden, rotation)
            layer.append(key[:, :, None], value[:, :, None])
            first, unseen = views[block.window]
            keys, values = layer.all_keys[:, :, first:], layer.all_values[:, :, first:]
            # Query heads that share a key head (grouped-query attention) become rows of one product.
            grouped = query.to(keys.dtype).view(len(query), keys.shape[1], -1, query.shape[-1])
            attended = attend(grouped, keys, values, unseen, block.scale, block.softcap)
            hidden = block.finish(hidden, attended.reshape(len(hidden), -1))
        return self.lm_head(hidden)


def look_back(excluded: Tensor, newest: int, window: int | None) -> tuple[int, Tensor]:
    """Return the first place of the cache that is read, the start of a block, and which places behind it are not seen.

    Rows are padded in front alone, so that a window is as many places as tokens.
    """
    oldest = 0 if window is None else max(0, newest + 1 - window)
    first = oldest // BLOCK * BLOCK
    if oldest == first:
        return first, excluded[..., first:]
    unseen = excluded[..., first:].clone()
    unseen[..., : oldest - first].fill_(True)
    return first, unseen


def attend(
    query: Tensor, keys: Tensor, values: Tensor, excluded: Tensor, scale: float, softcap: float | None = None
) -> Tensor:
    """Attention of the last token, `[B, heads, group, size]`, to all positions not `excluded`, `[B, 1, 1, n]`.

    On a CPU two matrix products over whole blocks take 1/3 to 2/3 of the time of torch's SDPA kernel.
    """
    if softcap is None and not keys.is_cpu:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=~excluded, scale=scale)
    scores = upcast(query @ keys.transpose(-1, -2)).mul_(scale)
    if softcap is not None:
        scores = cap(scores, softcap)
    return scores.masked_fill_(excluded, -math.inf).softmax(-1).to(values.dtype) @ values


def cap(values: Tensor, bound: float | None) -> Tensor:
    """Keep values within plus and minus a bound by a tanh; None: as they are."""
    return values if bound is None else torch.tanh(values / bound) * bound


def linear(layer: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """`x W + b` of a Linear, or of GPT-2's Conv1D, whose weight is transposed.

    On a CPU large weights are packed for oneDNN: products with few rows then take 50% to 80% of the time of `F.linear`,
    in float32 and bfloat16.
    """
    base = layer if isinstance(layer, nn.Linear | Conv1D) else layer.get_base_layer()
    if isinstance(base, STORED):
        return stored_linear(base, layer, cast)
    layer, weight = (layer, layer.weight) if isinstance(layer, nn.Linear | Conv1D) else merge_lora(layer)
    weight = cast(weight.t() if isinstance(layer, Conv1D) else weight)
    bias = None if layer.bias is None else cast(layer.bias)
    if is_worth_packing(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return lambda x: torch.ops.mkldnn._linear_pointwise(x.to(weight.dtype), packed, bias, "none", [], "")
    return lambda x: F.linear(x.to(weight.dtype), weight, bias)


def stored_linear(base: Any, layer: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """`x W + b` with a stored weight, unpacked for each product, and the product with an adapter's matrices beside it.

    Merged and unpacked once it would be faster, and stand in memory whole, which is what storing is to avoid.
    """
    names = [] if layer is base else layer.active_adapters
    sides = [(cast(layer.lora_A[name].weight), cast(layer.lora_B[name].weight), layer.scaling[name]) for name in names]
    dtype = cast(torch.empty(0)).dtype
    bias = None if base.bias is None else cast(base.bias)

    def product(x: Tensor) -> Tensor:
        x = x.to(dtype)
        result = F.linear(x, base.unpack(dtype), bias)
        for first, second, scaling in sides:
            result = result + F.linear(F.linear(x, first), second) * scaling
        return result

    return product


def merge_lora(layer: Any) -> tuple[nn.Module, Tensor]:
    """Return the base layer under an adapter, and the merged weight."""
    from likelier.text.adapters import merge_weight

    return layer.get_base_layer(), merge_weight(layer)


def is_worth_packing(weight: Tensor) -> bool:
    """True if oneDNN can pack this weight and it is large enough to benefit.

    Without AVX-512, oneDNN's bfloat16 products raise an error.
    """
    if weight.numel() < MIN_PACKED_SIZE or not (weight.is_cpu and torch.backends.mkldnn.is_available()):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def rms_norm(norm: Any) -> Callable[[Tensor], Tensor]:
    """RMSNorm as one kernel, with the weight and epsilon of transformers' module."""
    return lambda hidden: F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def shifted_rms_norm(norm: Any) -> Callable[[Tensor], Tensor]:
    """RMSNorm as Gemma has it: the factor is 1 plus the weight."""
    factor = 1.0 + norm.weight.detach()
    return lambda hidden: F.rms_norm(hidden, hidden.shape[-1:], factor, norm.eps)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): the first half of each head turned with the second.

    Of tables that are narrower than a head the rest of it stays as it is (Phi, GPT-NeoX).
    """
    width = cos.shape[-1]
    half = width // 2
    first, second, cos, sin = heads[..., :half], heads[..., half:width], cos[..., :half], sin[..., :half]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat(turned if width == heads.shape[-1] else [*turned, heads[..., width:]], -1)
