"""Decoding a token at a time without the overhead of transformers' modules, where the family of a model is known.

With one token per row that overhead costs more than the arithmetic of a small model. Other architectures, and models
whose logits these functions do not reproduce, are decoded by their own forward, and a line says so.
"""

from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.progress import print_note
from likelier.text.cache import BLOCK, make_cache, preallocated_layers
from likelier.text.fast_families import BUILDERS, Builder
from likelier.text.fast_layers import FastDecoder
from likelier.text.frozen_weights import STORED, find_compute_dtype
from likelier.training.precision import full_precision


def fast_decoder(model: PreTrainedModel, dtype: torch.dtype) -> FastDecoder | None:
    """The model as plain functions with matrix products in `dtype`; None if they do not reproduce the model.

    It needs a cache that keeps all tokens, `make_cache(model, dtype, keep_all=True)`.
    """
    build = BUILDERS.get(model.config.model_type)
    if build is None:
        explain_slow_decoding(model.config.model_type, f"the fast one knows {', '.join(sorted(BUILDERS))}")
    elif not is_plain(model):
        explain_slow_decoding(model.config.model_type, "it has hooks, or layers that are not plain linear ones")
    elif not matches_model(model, build):
        explain_slow_decoding(model.config.model_type, "the fast one gives other logits than this model")
    else:
        return build(model, lambda weight: weight.to(dtype))
    return None


@cache
def explain_slow_decoding(model_type: str, reason: str) -> None:
    """Say once that a model is sampled from by transformers' own forward."""
    print_note(f"{model_type}: sampled from by transformers' own decoding step, which is slower: {reason}")


def is_plain(model: PreTrainedModel) -> bool:
    """True if all projections are plain linear layers, stored as ours are, optionally with LoRA, and none is hooked.

    The attention must be one whose mask and scores are known, and all layers must be able to keep all tokens.
    Forward hooks may change a layer's output, and the fast path does not call them.
    """
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    if not make_cache(model, model.dtype, keep_all=True)[1]:
        return False
    if model._hf_peft_config_loaded:
        from likelier.text.adapters import is_mergeable

        if not is_mergeable(model):
            return False
    products = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)]
    kinds = (nn.Linear, Conv1D)
    return all(type(module) in kinds or isinstance(module, STORED) for module in products) and not model._forward_hooks


MATCHES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""Result of `matches_model` for each model."""


@full_precision()
def matches_model(model: PreTrainedModel, build: Builder) -> bool:
    """True if these functions reproduce the model's logits, tested on two different prompts.

    Cached per model, except with an adapter: its initial output is 0, so a first test proves nothing.
    """
    if model not in MATCHES or model._hf_peft_config_loaded:
        tokens = torch.arange(8, device=model.device).view(2, 4) % model.get_output_embeddings().weight.shape[0]
        dtype = find_compute_dtype(model)
        cache, _ = make_cache(model, dtype, keep_all=True)
        model(input_ids=tokens[:, :3], past_key_values=cache, use_cache=True)
        positions = torch.full((2,), 3, device=model.device)
        mask = torch.arange(BLOCK, device=model.device).expand(2, -1) < 4
        decoder = build(model, lambda weight: weight.to(dtype))
        logits = decoder.step(tokens[:, 3], positions, preallocated_layers(cache), mask)
        MATCHES[model] = torch.allclose(logits, model(input_ids=tokens).logits[:, 3], rtol=1e-3, atol=1e-3)
    return MATCHES[model]
