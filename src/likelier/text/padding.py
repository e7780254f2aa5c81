"""Padding of token rows to one tensor with a mask, on the left or the right."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

PAD = 0
"""Fills rows: an id that every model has an embedding for, which a tokenizer's padding token may lack. Masks say what
counts."""


def pad_left(rows: Sequence[Sequence[int]], pad: int = PAD) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Pad rows on the left with `pad`; returns the tensor and a mask that is True for tokens of the row.

    >>> pad_left([[5], [6, 7]])[0].tolist()
    [[0, 5], [6, 7]]
    """
    width = max(map(len, rows), default=0)
    tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], dtype=torch.long)
    return tokens.view(len(rows), width), make_length_mask(rows, width).flip(1)


def pad_right(rows: Sequence[Sequence[int]], pad: int = PAD) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Pad rows on the right with `pad`; returns the tensor and a mask that is True for tokens of the row."""
    width = max(map(len, rows), default=0)
    tokens = torch.tensor([list(row) + [pad] * (width - len(row)) for row in rows], dtype=torch.long)
    return tokens.view(len(rows), width), make_length_mask(rows, width)


def make_length_mask(rows: Sequence[Sequence[int]], width: int) -> Bool[Tensor, "B N"]:
    """Return a mask that is True in the first `lengths[i]` columns of row i."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    return torch.arange(width) < lengths[:, None]


def to_right_padding(
    tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]
) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Move all padding to the right of the tokens."""
    order = (~mask).long().argsort(dim=1, stable=True)
    return tokens.gather(1, order), mask.gather(1, order)


def unpadded_inputs(tokens: Int[Tensor, "B N"]) -> dict[str, Any]:
    """Inputs of a causal model for right-padded texts, where no real token can attend to padding.

    The mask is all ones, because transformers warns without one.
    """
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}


def compute_position_ids(mask: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Position of each token in its text, from 0 at the first real token; 0 in left padding."""
    return (mask.long().cumsum(1) - 1).clamp_(min=0)
