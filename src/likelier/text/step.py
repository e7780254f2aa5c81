"""A language model over a growing cache: the prompts first, then one token a row."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from likelier.errors import ConfigError
from likelier.text.cache import keep_rows, make_cache, preallocated, whole_blocks
from likelier.text.fast_decode import fast_decoder
from likelier.text.models import positions, unpadded
from likelier.training.setup import autocast

MOST_OFF = 3e-3
"""Largest difference of a logit between decoding and a full pass, in standard deviations: fp32 stays far below it."""


def check_steps(model: PreTrainedModel, name: str | Path) -> None:
    """ConfigError: a token at a time, with padding and dropped rows, is not the same as the whole text at once.

    So it is with states in place of keys and values (Mamba, RWKV), with encoders (BERT), with caches of other kinds.
    """
    size = model.config.get_text_config().vocab_size
    tokens = (torch.arange(24, device=model.device) * 7 + 5).view(3, 8) % size
    mask = torch.arange(6, device=model.device) >= torch.tensor([[2], [0], [1]], device=model.device)
    rows = torch.tensor([0, 2], device=model.device)
    advice = (
        "it cannot be sampled from; give a Transformer decoder with a key-value cache, such as Llama, Qwen or GPT-2"
    )
    try:
        with torch.no_grad():
            stepper = Stepper(model, mask, 2, bf16=False)
            stepper.start(tokens[:, :6])
            stepper.next(tokens[:, 6])
            stepper.keep(rows)
            found = stepper.next(tokens[rows, 7])
            whole = [model(**unpadded(tokens[row, skip:][None])).logits[0, -1] for row, skip in ((0, 2), (2, 1))]
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} ({reason})") from error
    expected = torch.stack(whole)
    off = ((found - expected).abs().max() / expected.std()).item()
    if off > MOST_OFF:  # not where it is NaN: sampling says that the weights are damaged
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} (logits off by {off:.2g} of their spread)")


class Stepper:
    """Runs the model, remembers what it has seen, forgets rows that are dropped."""

    def __init__(self, model: PreTrainedModel, mask: Bool[Tensor, "B P"], room: int, bf16: bool) -> None:
        self.model, self.filled, self.bf16 = model, mask.shape[1], bf16
        dtype = torch.bfloat16 if bf16 else model.dtype
        self.cache, plain = make_cache(model, dtype)
        self.padded = not bool(mask.all())
        self.sizes = mask.sum(1)
        self.mask = torch.nn.functional.pad(mask, (0, whole_blocks(self.filled + room) - self.filled), value=False)
        """True where the cache holds a real token."""
        ready = plain and model.config._attn_implementation == "sdpa"
        """Scaled dot-product attention over a whole cache takes a mask as it is; others have it made for them."""
        self.ready_mask, self.fast_decoder = ready, fast_decoder(model, dtype) if ready and room > 1 else None
        known = inspect.signature(model.forward).parameters
        self.knows_positions, self.knows_last = "position_ids" in known, "logits_to_keep" in known

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast around all steps, so that weights are cast once; lean steps cast theirs by themselves."""
        return autocast(self.model.device, self.bf16 and self.fast_decoder is None)

    def start(self, tokens: Int[Tensor, "B P"]) -> Float[Tensor, "B V"]:
        """Logits behind the prompts."""
        mask = self.mask[:, : self.filled]
        return self.forward(tokens, mask.long() if self.padded else None, positions(mask))

    def next(self, token: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Logits behind one more token of each row."""
        self.mask[:, self.filled] = True
        self.filled += 1
        places, self.sizes = self.sizes, self.sizes + 1
        if self.fast_decoder:
            return self.fast_decoder.step(
                token, places, preallocated(self.cache), self.mask[:, : whole_blocks(self.filled)]
            )
        mask = None
        if self.padded:
            mask = self.mask[:, : self.filled]
            mask = mask[:, None, None] if self.ready_mask else mask.long()
        return self.forward(token[:, None], mask, places[:, None])

    def forward(self, tokens: Tensor, mask: Tensor | None, places: Tensor) -> Float[Tensor, "B V"]:
        options: dict[str, Tensor | int] = {"position_ids": places} if self.knows_positions else {}
        if self.knows_last:
            options["logits_to_keep"] = 1
        with autocast(self.model.device, self.bf16):
            output = self.model(
                input_ids=tokens, attention_mask=mask, past_key_values=self.cache, use_cache=True, **options
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, rows: Int[Tensor, " K"]) -> None:
        """Drop all other rows."""
        keep_rows(self.cache, rows)
        self.mask, self.sizes = self.mask[rows], self.sizes[rows]
