"""Decoder families as plain functions: GPT-2, GPT-NeoX, and the kin of Llama, which differ in a few points."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from likelier.text.fast_layers import (
    Block,
    Cast,
    FastDecoder,
    cap,
    linear,
    rms_norm,
    rotate,
    shifted_rms_norm,
)
from likelier.text.models import upcast

Builder = Callable[[PreTrainedModel, Cast], FastDecoder]


class Kin(NamedTuple):
    """Points in which a relative of Llama may differ from it."""

    norm: Callable[[Any], Callable[[Tensor], Tensor]] = rms_norm
    head_norms: bool = False
    """Each head of query and key is normed (Qwen 3, Gemma 3)."""
    output_norms: bool = False
    """What attention and MLP add is normed as well (Gemma 2 and 3)."""
    fused: bool = False
    """One product for query, key and value, and one for both sides of the MLP (Phi 3)."""
    window: Callable[[Any], int | None] = lambda attention: None
    """Attention module -> its sliding window."""
    rotation_by_type: bool = False
    """Layers with a window turn by other angles than those without (Gemma 3)."""
    caps_scores: bool = False
    """Attention scores are capped (Gemma 2)."""
    caps_logits: bool = False
    """Logits are capped, if the config says by what (Gemma 2 and 3)."""


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


def build_gpt_neox(model: PreTrainedModel, cast: Cast) -> FastDecoder:
    """GPT-NeoX and Pythia: one product for query, key and value by head, and attention beside the MLP."""
    trunk: Any = model.base_model

    def build_block(layer: Any) -> Block:
        attention, mlp, size = layer.attention, layer.mlp, layer.attention.head_size
        parts = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
        qkv_proj, out_proj, up_proj, down_proj = (linear(part, cast) for part in parts)

        def project(hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            heads = qkv_proj(layer.input_layernorm(hidden)).view(len(hidden), -1, 3, size)
            rotated = rotate(heads[:, :, :2], *(table[:, :, None] for table in rotation))
            return rotated[:, :, 0], rotated[:, :, 1], heads[:, :, 2]

        def finish(hidden: Tensor, attended: Tensor) -> Tensor:
            behind = hidden + out_proj(attended)
            read = hidden if layer.use_parallel_residual else behind
            return behind + down_proj(mlp.act(up_proj(layer.post_attention_layernorm(read))))

        return Block(project, finish, attention.scaling)

    def embed(tokens: Tensor, positions: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = trunk.embed_in(tokens)
        cos, sin = trunk.rotary_emb(hidden, positions[:, None])
        return hidden, (cos, sin)

    return FastDecoder(
        embed, [build_block(layer) for layer in trunk.layers], lm_head(model, trunk.final_layer_norm, cast)
    )


def build_llama(model: PreTrainedModel, cast: Cast, kin: Kin = Kin()) -> FastDecoder:  # noqa: B008 - frozen
    """Llama and its kin: rotary positions, gated MLP, pre-RMSNorm."""
    trunk, config = model.base_model, model.config
    assert isinstance(trunk, PreTrainedModel), type(trunk)
    parts: Any = trunk

    def embed(tokens: Tensor, positions: Tensor) -> tuple[Tensor, dict[str | None, tuple[Tensor, Tensor]]]:
        hidden = parts.embed_tokens(tokens)
        types = set(config.layer_types) if kin.rotation_by_type else ()
        rotations = {name: parts.rotary_emb(hidden, positions[:, None], name) for name in types}
        return hidden, rotations or {None: parts.rotary_emb(hidden, positions[:, None])}

    bound = config.final_logit_softcapping if kin.caps_logits else None
    blocks = [build_llama_block(layer, cast, kin) for layer in parts.layers]
    return FastDecoder(embed, blocks, lm_head(model, kin.norm(parts.norm), cast, bound))


def build_llama_block(layer: Any, cast: Cast, kin: Kin) -> Block:
    """One layer of Llama or its kin."""
    attention, size = layer.self_attn, layer.self_attn.head_dim
    split, multiply = (split_heads_fused, gate_fused) if kin.fused else (split_heads, gate)
    to_heads, through_mlp, out_proj = split(attention, cast), multiply(layer.mlp, cast), linear(attention.o_proj, cast)
    input_norm, mid_norm = kin.norm(layer.input_layernorm), kin.norm(layer.post_attention_layernorm)
    rotation_type = attention.layer_type if kin.rotation_by_type else None

    def project(hidden: Tensor, rotations: dict[str | None, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (side.view(len(hidden), -1, size) for side in to_heads(input_norm(hidden)))
        if kin.head_norms:
            query, key = query_norm(query), key_norm(key)
        rotated = rotate(torch.cat([query, key], 1), *rotations[rotation_type])
        return rotated[:, : query.shape[1]], rotated[:, query.shape[1] :], value

    def finish(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + out_proj(attended)
        return hidden.add_(through_mlp(mid_norm(hidden)))

    def finish_normed(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + mid_norm(out_proj(attended))
        return hidden.add_(last_norm(through_mlp(mlp_norm(hidden))))

    if kin.head_norms:
        query_norm, key_norm = kin.norm(attention.q_norm), kin.norm(attention.k_norm)
    if kin.output_norms:
        mlp_norm, last_norm = kin.norm(layer.pre_feedforward_layernorm), kin.norm(layer.post_feedforward_layernorm)
    softcap = attention.attn_logit_softcapping if kin.caps_scores else None
    ending = finish_normed if kin.output_norms else finish
    return Block(project, ending, attention.scaling, kin.window(attention), softcap)


def split_heads(attention: Any, cast: Cast) -> Callable[[Tensor], list[Tensor]]:
    """Query, key and value by a product each."""
    sides = [linear(part, cast) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    return lambda normed: [side(normed) for side in sides]


def split_heads_fused(attention: Any, cast: Cast) -> Callable[[Tensor], list[Tensor]]:
    """Query, key and value by one product."""
    product, keys = linear(attention.qkv_proj, cast), attention.config.num_key_value_heads * attention.head_dim
    sizes = [attention.config.num_attention_heads * attention.head_dim, keys, keys]
    return lambda normed: list(product(normed).split(sizes, -1))


def gate(mlp: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """A gated MLP."""
    gate_proj, up_proj, down_proj = (linear(part, cast) for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
    return lambda normed: down_proj(mlp.act_fn(gate_proj(normed)).mul_(up_proj(normed)))


def gate_fused(mlp: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """A gated MLP whose two sides are one product."""
    both, down_proj = linear(mlp.gate_up_proj, cast), linear(mlp.down_proj, cast)

    def multiply(normed: Tensor) -> Tensor:
        gated, up = both(normed).chunk(2, -1)
        return down_proj(mlp.activation_fn(gated) * up)

    return multiply


def lm_head(
    model: PreTrainedModel, norm: Callable[[Tensor], Tensor], cast: Cast, bound: float | None = None
) -> Callable[[Tensor], Tensor]:
    """Map hidden states to logits: the final norm and the output layer, with a cap at `bound`."""
    output = linear(model.get_output_embeddings(), cast)
    return lambda hidden: output(norm(hidden)) if bound is None else cap(upcast(output(norm(hidden))), bound)


def find_own_window(attention: Any) -> int | None:
    """The window of a layer of a model in which not all have one."""
    window: int | None = attention.sliding_window
    return window


def find_common_window(attention: Any) -> int | None:
    """The window that all layers of a model have."""
    window: int | None = attention.config.sliding_window
    return window


GEMMA_2 = Kin(shifted_rms_norm, output_norms=True, window=find_own_window, caps_logits=True, caps_scores=True)
GEMMA_3 = GEMMA_2._replace(head_norms=True, rotation_by_type=True, caps_scores=False)
BUILDERS: dict[str, Builder] = {
    "gpt2": build_gpt2,
    "gpt_neox": build_gpt_neox,
    "llama": build_llama,
    "mistral": partial(build_llama, kin=Kin(window=find_common_window)),
    "qwen2": partial(build_llama, kin=Kin(window=find_own_window)),
    "qwen3": partial(build_llama, kin=Kin(head_norms=True, window=find_own_window)),
    "phi3": partial(build_llama, kin=Kin(fused=True, window=find_common_window)),
    "gemma": partial(build_llama, kin=Kin(shifted_rms_norm)),
    "gemma2": partial(build_llama, kin=GEMMA_2),
    "gemma3_text": partial(build_llama, kin=GEMMA_3),
}
"""By the `model_type` of a config."""
