"""Batches for scorers, from texts and columns."""

from typing import Any

from likelier.records import Message, Prompt
from likelier.reward.responses import ResponseBatch


def batch_of(
    prompts: list[str | list[Message]],
    texts: list[str],
    token_texts: list[list[str]] | None = None,
    token_ids: list[list[int]] | None = None,
    /,
    **columns: list[Any],
) -> ResponseBatch:
    """One response to each prompt; `columns` hold a value for each."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    made = [Prompt(text, extra=row) for text, row in zip(prompts, rows or [{}] * len(prompts), strict=True)]
    return ResponseBatch(made, texts, token_ids, token_texts)
