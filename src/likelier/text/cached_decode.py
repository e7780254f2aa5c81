"""Token-by-token decoding over a key-value cache."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from likelier.errors import ConfigError
from likelier.text.cache import keep_rows, make_cache, preallocated_layers, round_up_to_blocks
from likelier.text.fast_decode import fast_decoder
from likelier.text.padding import compute_position_ids, unpadded_inputs
from likelier.training.setup import autocast

MAX_LOGIT_ERROR = 3e-3
"""Largest difference of a logit between decoding and a full pass, in standard deviations: fp32 stays far below it."""


def check_decodable(model: PreTrainedModel, name: str | Path) -> None:
    """ConfigError: decoding token by token, with padding and dropped rows, gives other logits than a full pass.

    So it is with recurrent states in place of keys and values (Mamba, RWKV), with encoders (BERT), with caches of
    other kinds. PPO would then train on log-probabilities that are not those of the sampled tokens.
    """
    vocabulary = model.config.get_text_config().vocab_size
    tokens = (torch.arange(24, device=model.device) * 7 + 5).view(3, 8) % vocabulary
    mask = torch.arange(6, device=model.device) >= torch.tensor([[2], [0], [1]], device=model.device)
    rows = torch.tensor([0, 2], device=model.device)
    advice = (
        "it cannot be sampled from; give a Transformer decoder with a key-value cache, such as Llama, Qwen or GPT-2"
    )
    try:
        with torch.no_grad():
            decoder = CachedDecoder(model, mask, 2, bf16=False)
            decoder.prefill(tokens[:, :6])
            decoder.step(tokens[:, 6])
            decoder.keep_rows(rows)
            decoded = decoder.step(tokens[rows, 7])
            full = [model(**unpadded_inputs(tokens[row, skip:][None])).logits[0, -1] for row, skip in ((0, 2), (2, 1))]
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} ({reason})") from error
    expected = torch.stack(full)
    gap = ((decoded - expected).abs().max() / expected.std()).item()
    if gap > MAX_LOGIT_ERROR:  # not where it is NaN: sampling says that the weights are damaged
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} (logits off by {gap:.2g} of their spread)")


class CachedDecoder:
    """Decodes a batch: runs the prompts, then a token a row over the cache; finished rows can be dropped."""

    def __init__(self, model: PreTrainedModel, mask: Bool[Tensor, "B P"], max_new_tokens: int, bf16: bool) -> None:
        self.model, self.filled, self.bf16 = model, mask.shape[1], bf16
        dtype = torch.bfloat16 if bf16 else model.dtype
        self.cache, keeps_all = make_cache(model, dtype)
        self.padded = not bool(mask.all())
        self.lengths = mask.sum(1)
        """Real tokens of each row: the position of its next one."""
        room = round_up_to_blocks(self.filled + max_new_tokens) - self.filled
        self.mask = torch.nn.functional.pad(mask, (0, room), value=False)
        """True where the cache holds a real token."""
        # Scaled dot-product attention over a whole cache takes a 4-d mask as it is; others have it made for them.
        self.takes_4d_mask = keeps_all and model.config._attn_implementation == "sdpa"
        self.fast_decoder = fast_decoder(model, dtype) if self.takes_4d_mask and max_new_tokens > 1 else None
        arguments = inspect.signature(model.forward).parameters
        self.takes_positions, self.takes_logits_to_keep = "position_ids" in arguments, "logits_to_keep" in arguments

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast around all steps, so that weights are cast once; `FastDecoder` casts its own."""
        return autocast(self.model.device, self.bf16 and self.fast_decoder is None)

    def prefill(self, tokens: Int[Tensor, "B P"]) -> Float[Tensor, "B V"]:
        """Logits behind the prompts."""
        mask = self.mask[:, : self.filled]
        return self.forward(tokens, mask.long() if self.padded else None, compute_position_ids(mask))

    def step(self, token: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Logits behind one more token of each row."""
        self.mask[:, self.filled] = True
        self.filled += 1
        positions, self.lengths = self.lengths, self.lengths + 1
        if self.fast_decoder:
            layers, mask = preallocated_layers(self.cache), self.mask[:, : round_up_to_blocks(self.filled)]
            return self.fast_decoder.step(token, positions, layers, mask)
        attention_mask = None
        if self.padded:
            mask = self.mask[:, : self.filled]
            attention_mask = mask[:, None, None] if self.takes_4d_mask else mask.long()
        return self.forward(token[:, None], attention_mask, positions[:, None])

    def forward(self, tokens: Tensor, mask: Tensor | None, positions: Tensor) -> Float[Tensor, "B V"]:
        """Logits at the last position, by the model's own forward."""
        options: dict[str, Tensor | int] = {"position_ids": positions} if self.takes_positions else {}
        if self.takes_logits_to_keep:
            options["logits_to_keep"] = 1
        with autocast(self.model.device, self.bf16):
            output = self.model(
                input_ids=tokens, attention_mask=mask, past_key_values=self.cache, use_cache=True, **options
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep_rows(self, rows: Int[Tensor, " K"]) -> None:
        """Keep these rows, one that is named several times as often, and drop all others."""
        keep_rows(self.cache, rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]
