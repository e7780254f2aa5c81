"""One decoding step of GPT-2 and of the Llama family, without transformers' layers around the arithmetic.

At one token a row those layers cost more than the arithmetic of a small model. Every other architecture, and every
model that does not give its own logits this way, is decoded by its own forward.
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

from likelier.text.cache import BLOCK, PreallocatedLayer, make_cache, preallocated
from likelier.text.models import precise

Cast = Callable[[Tensor], Tensor]
SMALLEST_PACKED = 2**16


class Block(NamedTuple):
    """One layer: hidden states `[b, D]` to query `[b, heads, size]`, key and value; what was attended to, back in."""

    project: Callable[[Tensor, Any], tuple[Tensor, Tensor, Tensor]]
    absorb: Callable[[Tensor, Tensor], Tensor]
    scale: float


class FastDecoder(NamedTuple):
    """A model as plain functions. `embed` gives hidden states and what `project` needs to know of the positions."""

    embed: Callable[[Tensor, Tensor], tuple[Tensor, Any]]
    blocks: list[Block]
    head: Callable[[Tensor], Tensor]

    def step(self, tokens: Tensor, places: Tensor, layers: list[PreallocatedLayer], mask: Tensor) -> Tensor:
        """Logits `[b, V]` behind one more token of each row; `tokens`, `places` `[b]`.

        `mask` `[b, n]` is True where the cache, this token included, holds a real token; n fills its blocks.
        """
        hidden, turn = self.embed(tokens, places)
        unseen = ~mask[:, None, None]
        for block, layer in zip(self.blocks, layers, strict=True):
            query, key, value = block.project(hidden, turn)
            layer.append(key[:, :, None], value[:, :, None])
            keys, values = layer.all_keys, layer.all_values
            grouped = query.to(keys.dtype).view(len(query), keys.shape[1], -1, query.shape[-1])
            seen = attend(grouped, keys, values, unseen, block.scale)
            hidden = block.absorb(hidden, seen.reshape(len(hidden), -1))
        return self.head(hidden)


def attend(query: Tensor, keys: Tensor, values: Tensor, unseen: Tensor, scale: float) -> Tensor:
    """Attention of the last token, `[b, heads, group, size]`, to what is not `unseen`, `[b, 1, 1, n]`.

    On a CPU two products over whole blocks of memory take a third to two thirds of the time of torch's own kernel.
    """
    if not keys.is_cpu:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=~unseen, scale=scale)
    scores = precise(query @ keys.transpose(-1, -2)).mul_(scale).masked_fill_(unseen, -math.inf)
    return scores.softmax(-1).to(values.dtype) @ values


def fast_decoder(model: PreTrainedModel, dtype: torch.dtype) -> FastDecoder | None:
    """The model as plain functions whose products are in `dtype`, or None where it is not of a kind known here."""
    build = FAMILIES.get(model.config.model_type)
    if build is None or not is_plain(model) or not matches_model(model, build):
        return None
    return build(model, lambda weight: weight.to(dtype))


def is_plain(model: PreTrainedModel) -> bool:
    """Whether every product is a plain layer of its own kind, LoRA's sum of two among them; quantised ones are not."""
    if model._hf_peft_config_loaded:
        from likelier.text.adapters import can_be_merged

        if not can_be_merged(model):
            return False
    products = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)]
    return all(type(module) in (nn.Linear, Conv1D) for module in products) and not model._forward_hooks


def gpt2(model: PreTrainedModel, cast: Cast) -> FastDecoder:
    trunk: Any = model.base_model

    def block(layer: Any) -> Block:
        attend, mlp, size = layer.attn, layer.mlp, layer.attn.head_dim
        into, out, up, down = (linear(part, cast) for part in (attend.c_attn, attend.c_proj, mlp.c_fc, mlp.c_proj))

        def project(hidden: Tensor, turn: None) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = into(layer.ln_1(hidden)).view(len(hidden), 3, -1, size).unbind(1)
            return query, key, value

        def absorb(hidden: Tensor, seen: Tensor) -> Tensor:
            hidden = hidden + out(seen)
            return hidden.add_(down(mlp.act(up(layer.ln_2(hidden)))))

        return Block(project, absorb, attend.scaling)

    def embed(tokens: Tensor, places: Tensor) -> tuple[Tensor, None]:
        return trunk.wte(tokens) + trunk.wpe(places), None

    return FastDecoder(embed, [block(layer) for layer in trunk.h], lm_head(model, trunk.ln_f, cast))


def llama(model: PreTrainedModel, cast: Cast) -> FastDecoder:
    trunk: Any = model.base_model

    def block(layer: Any) -> Block:
        attend, mlp, size = layer.self_attn, layer.mlp, layer.self_attn.head_dim
        sides = [linear(part, cast) for part in (attend.q_proj, attend.k_proj, attend.v_proj)]
        out, gate, up, down = (
            linear(part, cast) for part in (attend.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        )

        def project(hidden: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            normed = rms_norm(hidden, layer.input_layernorm)
            query, key, value = (side(normed).view(len(hidden), -1, size) for side in sides)
            turned = rotate(torch.cat([query, key], 1), *turn)
            return turned[:, : query.shape[1]], turned[:, query.shape[1] :], value

        def absorb(hidden: Tensor, seen: Tensor) -> Tensor:
            hidden = hidden + out(seen)
            normed = rms_norm(hidden, layer.post_attention_layernorm)
            return hidden.add_(down(mlp.act_fn(gate(normed)).mul_(up(normed))))

        return Block(project, absorb, attend.scaling)

    def embed(tokens: Tensor, places: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = trunk.embed_tokens(tokens)
        cos, sin = trunk.rotary_emb(hidden, places[:, None])
        return hidden, (cos, sin)

    return FastDecoder(
        embed, [block(layer) for layer in trunk.layers], lm_head(model, lambda h: rms_norm(h, trunk.norm), cast)
    )


def linear(layer: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """`x W + b` of a Linear (or of GPT-2's Conv1D, whose weight lies the other way round).

    On a CPU a large weight is laid out for oneDNN first: a product with few rows then takes half to four fifths of the
    time of `F.linear`, in float32 and in bfloat16.
    """
    layer, weight = (layer, layer.weight) if isinstance(layer, nn.Linear | Conv1D) else merged_layer(layer)
    weight = cast(weight.t() if isinstance(layer, Conv1D) else weight)
    bias = None if layer.bias is None else cast(layer.bias)
    if packs(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return lambda x: torch.ops.mkldnn._linear_pointwise(x.to(weight.dtype), packed, bias, "none", [], "")
    return lambda x: F.linear(x.to(weight.dtype), weight, bias)


def merged_layer(layer: Any) -> tuple[nn.Module, Tensor]:
    """The layer under an adapter, and the weight of both together."""
    from likelier.text.adapters import merged_weight

    return layer.get_base_layer(), merged_weight(layer)


def packs(weight: Tensor) -> bool:
    """Whether oneDNN is here for it, and it is large enough to gain from it.

    A CPU without AVX-512 lacks oneDNN's products in bfloat16, which then end in an error.
    """
    if weight.numel() < SMALLEST_PACKED or not (weight.is_cpu and torch.backends.mkldnn.is_available()):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def lm_head(model: PreTrainedModel, norm: Callable[[Tensor], Tensor], cast: Cast) -> Callable[[Tensor], Tensor]:
    output = linear(model.get_output_embeddings(), cast)
    return lambda hidden: output(norm(hidden))


def rms_norm(hidden: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the first half of each head turned with the second."""
    half = heads.shape[-1] // 2
    first, second, cos, sin = heads[..., :half], heads[..., half:], cos[..., :half], sin[..., :half]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


FAMILIES: dict[str, Callable[[PreTrainedModel, Cast], FastDecoder]] = {
    "gpt2": gpt2,
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
}
MATCHES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def matches_model(model: PreTrainedModel, build: Callable[[PreTrainedModel, Cast], FastDecoder]) -> bool:
    """Whether these functions give the model's own logits: tried behind two different prompts.

    Once for each model; each time where there is an adapter, which at first adds nothing and so cannot disagree.
    """
    if model not in MATCHES or model._hf_peft_config_loaded:
        tokens = torch.arange(8, device=model.device).view(2, 4) % model.get_output_embeddings().weight.shape[0]
        cache, _ = make_cache(model, model.dtype)
        model(input_ids=tokens[:, :3], past_key_values=cache, use_cache=True)
        places = torch.full((2,), 3, device=model.device)
        mask = torch.arange(BLOCK, device=model.device).expand(2, -1) < 4
        found = build(model, lambda weight: weight).step(tokens[:, 3], places, preallocated(cache), mask)
        MATCHES[model] = torch.allclose(found, model(input_ids=tokens).logits[:, 3], rtol=1e-3, atol=1e-3)
    return MATCHES[model]
