"""Memory and time of sampling: the pass over the prompts, then a token of each row at a time."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.plan.machine import Rates
from likelier.plan.memory import Phase, add_parts
from likelier.plan.passes import trace_prefill
from likelier.plan.trace import Trace
from likelier.text.cache import round_up_to_blocks
from likelier.text.fast_decode import is_plain
from likelier.text.fast_families import BUILDERS
from likelier.text.fast_layers import MIN_PACKED_SIZE
from likelier.text.frozen_weights import STORED
from likelier.text.models import vocabulary_size

LOGIT_COPIES = 4
"""Tensors as wide as the vocabulary while a token is drawn: what the model says, scaled, shifted, and their sums."""
KERNELS_A_LAYER = 30
"""Kernels of a layer in `fast_decode`; a model's own forward has about twice as many."""
LAYOUT_PASSES = 6
"""Times that a weight goes through memory as it is merged and laid out."""
FEW_ROWS = 32
"""Rows up to which a product is as slow, by operation, as one of few rows."""


@dataclass(frozen=True)
class Decoding:
    """Sampling one batch."""

    prefill: Trace
    rows: int
    tokens: int
    """Of each response, at most."""
    vocabulary: int
    engine: int
    """Bytes of the weights as they are laid out."""
    builds: int
    """Times that they are laid out for a batch."""
    cache: int
    """Bytes of keys and values at the end."""
    products: int
    """Weights of all linear layers, each used once a token."""
    item_bytes: int
    """Bytes of a weight as it is read."""
    kernels: int
    """Kernels of a step."""

    def list_phases(self, held: Mapping[str, int]) -> Iterator[Phase]:
        """Yield the pass over the prompts and the steps behind it."""
        logits = LOGIT_COPIES * 4 * self.rows * self.vocabulary
        yield Phase("prompts", add_parts(held, self.prefill.peak, {"engine": self.engine}))
        yield Phase("sample", add_parts(held, {"engine": self.engine, "cache": self.cache, "logits": logits}))

    def time(self, rates: Rates) -> float:
        """Return the seconds of a batch whose responses are all of the full length."""
        layout = self.builds * LAYOUT_PASSES * self.engine / rates.bandwidth
        return rates.time(self.prefill.operations) + self.tokens * self.time_step(rates) + layout

    def time_step(self, rates: Rates) -> float:
        """Return the seconds of one token of each row; attention reads a cache that is full by half on average."""
        half = self.item_bytes == 2
        rate = rates.half if half else rates.thin if self.rows <= FEW_ROWS else rates.single
        product = max(2 * self.rows * self.products / rate, self.products * self.item_bytes / rates.bandwidth)
        moved = self.cache / 2 + 2 * LOGIT_COPIES * 4 * self.rows * self.vocabulary
        return product + moved / rates.bandwidth + self.kernels * rates.kernel


def trace_decoding(
    model: PreTrainedModel, rows: int, group: int, tokens: tuple[int, int], bf16: bool, on_cpu: bool
) -> Decoding:
    """Trace the sampling of `rows` responses, `group` to a prompt; `tokens`: of a prompt and of a response."""
    prompt, response = tokens
    distinct = -(-rows // group)
    prefill = trace_prefill(model, distinct, prompt, bf16, keep_all=is_fast(model))
    layers = list(list_products(model))
    adapted = bool(model._hf_peft_config_loaded)
    return Decoding(
        prefill=prefill,
        rows=rows,
        tokens=response,
        vocabulary=vocabulary_size(model),
        engine=count_engine(model, bf16, on_cpu),
        builds=2 if adapted else 1,
        cache=prefill.kept * rows // distinct * round_up_to_blocks(prompt + response) // round_up_to_blocks(prompt),
        products=sum(count_weights(layer) for layer in layers),
        item_bytes=2 if bf16 else 4,
        kernels=KERNELS_A_LAYER * model.config.get_text_config().num_hidden_layers * (1 if is_fast(model) else 2),
    )


def is_fast(model: PreTrainedModel) -> bool:
    """True if `fast_decode` decodes the model."""
    return model.config.model_type in BUILDERS and is_plain(model)


def count_engine(model: PreTrainedModel, bf16: bool, on_cpu: bool) -> int:
    """Return the bytes of the weights that `fast_decode` lays out for decoding, most of which it has at a time."""
    if not is_fast(model):
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        return 2 * trained * bf16  # autocast keeps its copies of what is trained
    # With an adapter the merged weights are tried out in float32 first, each time.
    halves = {bf16, bf16 and not model._hf_peft_config_loaded}
    return max(sum(count_copy(layer, half, on_cpu) for layer in list_products(model)) for half in halves)


def list_products(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the linear layers of a model, with their adapters if they have one."""
    for layer in model.children():
        if isinstance(layer, nn.Linear | Conv1D) or "lora_A" in layer._modules:
            yield layer
        else:
            yield from list_products(layer)


def count_weights(layer: nn.Module) -> int:
    """Return the weights of a linear layer without its adapter."""
    base: Any = layer.get_submodule("base_layer") if "lora_A" in layer._modules else layer
    return int(math.prod(base.shape if "packed" in base._buffers else base.weight.shape))


def count_copy(layer: nn.Module, half: bool, on_cpu: bool) -> int:
    """Return the bytes of a layer's weight as decoding lays it out; 0 where it is used as it is."""
    merged = "lora_A" in layer._modules
    if isinstance(layer.get_submodule("base_layer") if merged else layer, STORED):
        return 0
    size = count_weights(layer)
    packed = on_cpu and size >= MIN_PACKED_SIZE
    return size * (2 if half else 4) * (merged or packed or half)
