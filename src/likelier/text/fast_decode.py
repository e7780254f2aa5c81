"""One decoding step of GPT-2 and Llama-like models, without the overhead of transformers' modules.

With one token per row that overhead costs more than the arithmetic of a small model. Other architectures, and models
whose logits these functions do not reproduce, are decoded by their own forward.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.text.cache import BLOCK, PreallocatedLayer, make_cache, preallocated_layers
from likelier.text.frozen_weights import STORED, find_compute_dtype
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
        excluded = ~mask[:, None, None]
        for block, layer in zip(self.blocks, layers, strict=True):
            query, key, value = block.project(hidden, rotation)
            layer.append(key[:, :, None], value[:, :, None])
            keys, values = layer.all_keys, layer.all_values
            # Query heads that share a key head (grouped-query attention) become rows of one product.
            grouped = query.to(keys.dtype).view(len(query), keys.shape[1], -1, query.shape[-1])
            attended = attend(grouped, keys, values, excluded, block.scale)
            hidden = block.finish(hidden, attended.reshape(len(hidden), -1))
        return self.lm_head(hidden)


def attend(query: Tensor, keys: Tensor, values: Tensor, excluded: Tensor, scale: float) -> Tensor:
    """Attention of the last token, `[B, heads, group, size]`, to all positions not `excluded`, `[B, 1, 1, n]`.

    On a CPU two matrix products over whole blocks take 1/3 to 2/3 of the time of torch's SDPA kernel.
    """
    if not keys.is_cpu:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=~excluded, scale=scale)
    scores = upcast(query @ keys.transpose(-1, -2)).mul_(scale).masked_fill_(excluded, -math.inf)
    return scores.softmax(-1).to(values.dtype) @ values


def fast_decoder(model: PreTrainedModel, dtype: torch.dtype) -> FastDecoder | None:
    """The model as plain functions with matrix products in `dtype`; None if they do not reproduce the model."""
    build = BUILDERS.get(model.config.model_type)
    if build is None or not is_plain(model) or not matches_model(model, build):
        return None
    return build(model, lambda weight: weight.to(dtype))


def is_plain(model: PreTrainedModel) -> bool:
    """True if all projections are plain linear layers, stored as ours are, optionally with LoRA, and none is hooked.

    Forward hooks may change a layer's output, and the fast path does not call them.
    """
    if model._hf_peft_config_loaded:
        from likelier.text.adapters import is_mergeable

        if not is_mergeable(model):
            return False
    products = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)]
    kinds = (nn.Linear, Conv1D)
    return all(type(module) in kinds or isinstance(module, STORED) for module in products) and not model._forward_hooks


def build_gpt2(model: PreTrainedModel, cast: Cast) -> FastDecoder:
    """GPT-2: learned positions, one product for query, key and value, pre-LayerNorm."""
    trunk: Any = model.base_model

    def build_block(layer: Any) -> Block:
        attention, mlp, size = layer.attn, layer.mlp, layer.attn.head_dim
        parts = (attention.c_attn, attention.c_proj, mlp.c_fc, mlp.c_proj)
        qkv_proj, out_proj, up_proj, down_proj = (linear(part, cast) for part in parts)

        def project(hidden: Tensor, rotation: None) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = qkv_proj(layer.ln_1(hidden)).view(len(hidden), 3, -1, size).unbind(1)
            return query, key, value

        def finish(hidden: Tensor, attended: Tensor) -> Tensor:
            hidden = hidden + out_proj(attended)
            return hidden.add_(down_proj(mlp.act(up_proj(layer.ln_2(hidden)))))

        return Block(project, finish, attention.scaling)

    def embed(tokens: Tensor, positions: Tensor) -> tuple[Tensor, None]:
        return trunk.wte(tokens) + trunk.wpe(positions), None

    return FastDecoder(embed, [build_block(layer) for layer in trunk.h], lm_head(model, trunk.ln_f, cast))


def build_llama(model: PreTrainedModel, cast: Cast) -> FastDecoder:
    """Llama, Mistral, Qwen2: rotary positions, gated MLP, pre-RMSNorm."""
    trunk: Any = model.base_model

    def build_block(layer: Any) -> Block:
        attention, mlp, size = layer.self_attn, layer.mlp, layer.self_attn.head_dim
        sides = [linear(part, cast) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
        parts = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        out_proj, gate_proj, up_proj, down_proj = (linear(part, cast) for part in parts)

        def project(hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            normed = rms_norm(hidden, layer.input_layernorm)
            query, key, value = (side(normed).view(len(hidden), -1, size) for side in sides)
            rotated = rotate(torch.cat([query, key], 1), *rotation)
            return rotated[:, : query.shape[1]], rotated[:, query.shape[1] :], value

        def finish(hidden: Tensor, attended: Tensor) -> Tensor:
            hidden = hidden + out_proj(attended)
            normed = rms_norm(hidden, layer.post_attention_layernorm)
            return hidden.add_(down_proj(mlp.act_fn(gate_proj(normed)).mul_(up_proj(normed))))

        return Block(project, finish, attention.scaling)

    def embed(tokens: Tensor, positions: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = trunk.embed_tokens(tokens)
        cos, sin = trunk.rotary_emb(hidden, positions[:, None])
        return hidden, (cos, sin)

    return FastDecoder(
        embed, [build_block(layer) for layer in trunk.layers], lm_head(model, lambda h: rms_norm(h, trunk.norm), cast)
    )


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


def lm_head(model: PreTrainedModel, norm: Callable[[Tensor], Tensor], cast: Cast) -> Callable[[Tensor], Tensor]:
    """Map hidden states to logits: the final norm and the output layer."""
    output = linear(model.get_output_embeddings(), cast)
    return lambda hidden: output(norm(hidden))


def rms_norm(hidden: Tensor, norm: Any) -> Tensor:
    """RMSNorm as one kernel, with the weight and epsilon of transformers' module."""
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): the first half of each head turned with the second."""
    half = heads.shape[-1] // 2
    first, second, cos, sin = heads[..., :half], heads[..., half:], cos[..., :half], sin[..., :half]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


BUILDERS: dict[str, Callable[[PreTrainedModel, Cast], FastDecoder]] = {
    "gpt2": build_gpt2,
    "llama": build_llama,
    "mistral": build_llama,
    "qwen2": build_llama,
}
MATCHES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""Result of `matches_model` for each model."""


def matches_model(model: PreTrainedModel, build: Callable[[PreTrainedModel, Cast], FastDecoder]) -> bool:
    """True if these functions reproduce the model's logits, tested on two different prompts.

    Cached per model, except with an adapter: its initial output is 0, so a first test proves nothing.
    """
    if model not in MATCHES or model._hf_peft_config_loaded:
        tokens = torch.arange(8, device=model.device).view(2, 4) % model.get_output_embeddings().weight.shape[0]
        dtype = find_compute_dtype(model)
        cache, _ = make_cache(model, dtype)
        model(input_ids=tokens[:, :3], past_key_values=cache, use_cache=True)
        positions = torch.full((2,), 3, device=model.device)
        mask = torch.arange(BLOCK, device=model.device).expand(2, -1) < 4
        decoder = build(model, lambda weight: weight.to(dtype))
        logits = decoder.step(tokens[:, 3], positions, preallocated_layers(cache), mask)
        MATCHES[model] = torch.allclose(logits, model(input_ids=tokens).logits[:, 3], rtol=1e-3, atol=1e-3)
    return MATCHES[model]
