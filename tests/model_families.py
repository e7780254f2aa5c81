"""Tiny random models of several families with a tokenizer of single characters, made on the fly."""

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz .,!:\nABCDEFGHIJKLMNOPQRSTUVWXYZ"
VOCABULARY = 64

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "llama": {"num_key_value_heads": 1},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": GROUPED,
    "phi3": {"num_key_value_heads": 1},
    "gemma": GROUPED,
    "gemma2": {**GROUPED, "sliding_window": 8, "final_logit_softcapping": 2.0},
    "gemma3_text": {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 8},
    "granite": {"num_key_value_heads": 1, "logits_scaling": 4.0},
    "cohere": {"num_key_value_heads": 1, "logit_scale": 0.5},
    "gpt_neox": {},
    "bloom": {"n_layer": 2, "n_head": 2, "hidden_size": 16},
}


BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_tokenizer(bos: str | None = "<s>", eos: str = "</s>", pad: str = "<pad>", chat: bool = False) -> Any:
    """Characters to ids, `bos` in front; `bos`, `eos` and `pad` may be one and the same."""
    special = list(dict.fromkeys(token for token in (pad, bos, eos) if token))
    vocabulary = {token: at for at, token in enumerate([*special, "<unk>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, vocabulary[bos])])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad, unk_token="<unk>"
    )
    made.chat_template = CHAT_TEMPLATE if chat else None
    return made


def tiny_config(family: str = "llama", **settings: Any) -> Any:
    common = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    own = SIZES[family]
    shape = own if "n_layer" in own else {**sizes, "max_position_embeddings": 128, **own}
    return AutoConfig.for_model(family, **{**common, **shape, **settings})


def tiny_model(family: str = "llama", seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Random weights, drawn wide so that the distributions are far from flat."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return model.eval()
