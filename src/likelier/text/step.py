"""A language model over a growing cache: the prompts first, then one token a row."""

import contextlib
import inspect
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from likelier.text.cache import BLOCK, make_cache, preallocated
from likelier.text.lean import lean
from likelier.text.models import positions
from likelier.training import autocast


class Stepper:
    """Runs the model, remembers what it has seen, forgets rows that are dropped."""

    def __init__(self, model: PreTrainedModel, mask: Bool[Tensor, "B P"], room: int, bf16: bool) -> None:
        self.model, self.filled, self.bf16 = model, mask.shape[1], bf16
        dtype = torch.bfloat16 if bf16 else model.dtype
        self.cache, plain = make_cache(model, dtype)
        self.padded = not bool(mask.all())
        self.sizes = mask.sum(1)
        self.mask = torch.nn.functional.pad(mask, (0, room + BLOCK), value=False)
        """True where the cache holds a real token."""
        ready = plain and model.config._attn_implementation == "sdpa"
        """Scaled dot-product attention over a whole cache takes a mask as it is; others have it made for them."""
        self.ready_mask, self.lean = ready, lean(model, dtype) if ready else None
        known = inspect.signature(model.forward).parameters
        self.knows_positions, self.knows_last = "position_ids" in known, "logits_to_keep" in known

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast around all steps, so that weights are cast once; lean steps cast theirs by themselves."""
        return autocast(self.model.device, self.bf16 and self.lean is None)

    def start(self, tokens: Int[Tensor, "B P"]) -> Float[Tensor, "B V"]:
        """Logits behind the prompts."""
        mask = self.mask[:, : self.filled]
        return self.forward(tokens, mask.long() if self.padded else None, positions(mask))

    def next(self, token: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Logits behind one more token of each row."""
        self.mask[:, self.filled] = True
        self.filled += 1
        places, self.sizes = self.sizes, self.sizes + 1
        if self.lean:
            return self.lean.step(token, places, preallocated(self.cache), self.mask)
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
        self.cache.batch_select_indices(rows)
        self.mask, self.sizes = self.mask[rows], self.sizes[rows]
