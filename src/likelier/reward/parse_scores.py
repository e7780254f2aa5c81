"""Parse the scores returned by a user's function or service: lists, arrays or tensors of finite numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likelier.errors import LikelierError

FLOAT32_MAX = torch.finfo(torch.float32).max


def parse_scores(returned: Any, count: int, label: str, allow_none: bool = False) -> Float[Tensor, " B"]:
    """Return one score per response; NaN stands for None if `allow_none`.

    LikelierError, beginning with `label`: not a list, the wrong length, or not a finite number at some index.
    """
    scores = as_list(returned)
    if not isinstance(scores, list | tuple):
        raise LikelierError(f"{label} returned {type(scores).__name__}; return a list of floats")
    if len(scores) != count:
        raise LikelierError(f"{label} returned {len(scores)} scores for {count} responses")
    numbers = [parse_number(score, f"at index {index}", label, allow_none) for index, score in enumerate(scores)]
    return torch.tensor(numbers)


def parse_token_scores(returned: Any, lengths: Sequence[int], label: str) -> Float[Tensor, "B T"]:
    """Return one score per token, 0 after a response's last token; a row of NaN stands for None.

    LikelierError, beginning with `label`: see `parse_scores`, for the responses or for the tokens of one.
    """
    rows = as_list(returned)
    if not isinstance(rows, list | tuple):
        raise LikelierError(f"{label} returned {type(rows).__name__}; return a list of floats for each response")
    if len(rows) != len(lengths):
        raise LikelierError(f"{label} returned {len(rows)} lists for {len(lengths)} responses")
    scores = torch.zeros(len(lengths), max(lengths, default=0))
    for index, (row, length) in enumerate(zip(map(as_list, rows), lengths, strict=True)):
        if row is None:
            scores[index] = torch.nan
            continue
        if isinstance(row, list | tuple) and len(row) != length:
            raise LikelierError(f"{label}, response {index}, returned {len(row)} numbers for {length} tokens")
        scores[index, :length] = parse_scores(row, length, f"{label}, response {index},")
    return scores


def parse_number(score: Any, where: str, label: str, allow_none: bool) -> float:
    """Return a float. LikelierError, naming `label` and `where`: not a finite number in float32."""
    if score is None and allow_none:
        return float("nan")
    number = score.item() if isinstance(score, np.generic | Tensor) and score.ndim == 0 else score
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= FLOAT32_MAX:
        shown = repr(number) if isinstance(number, bool | float) else type(number).__name__
        advice = "return finite floats, or None to leave a response out" if allow_none else "return finite floats"
        raise LikelierError(f"{label} returned {shown} {where}; {advice}")
    return float(number)


def as_list(returned: Any) -> Any:
    """Convert an array or tensor to (nested) lists of Python numbers; anything else is returned unchanged."""
    return returned.tolist() if isinstance(returned, np.ndarray | Tensor) else returned
