"""How a model's texts begin and end: as its tokenizer and chat template say, or as Likelier wrote them before.

Models that Likelier trained up to November 2026 read every text with the beginning token in front, also where neither
tokenizer nor template puts one, and with the end token behind the response. They keep that, and so does what is trained
from them: a mark in `tokenizer_config.json` travels with the tokenizer. Their own mark is the model card.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from likelier.runs.older import GOES_ON

MARK = "likelier_texts"
"""Entry of `tokenizer_config.json`; absent in models from elsewhere."""
AS_TOKENIZER = "tokenizer"
ALWAYS_BEGIN = "always_begin"
MADE_WITH = "- made with: likelier"
"""Line of the model card."""


def mark_made(tokenizer: PreTrainedTokenizerBase) -> None:
    """Mark the tokenizer of a model that is trained here, unless it has a mark already."""
    tokenizer.init_kwargs.setdefault(MARK, AS_TOKENIZER)


def mark_if_made_before(tokenizer: PreTrainedTokenizerBase, path: str | Path, options: dict[str, Any]) -> None:
    """Mark a tokenizer without a mark whose model card says that Likelier made it; `options` of `from_pretrained`.

    In a run that an older version began every model is read as it was.
    """
    if MARK in tokenizer.init_kwargs:
        return
    if GOES_ON.get():
        tokenizer.init_kwargs[MARK] = ALWAYS_BEGIN
        return
    card = cached_file(
        str(path),
        "README.md",
        local_files_only=options["local_files_only"],
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if card and MADE_WITH in Path(card).read_text(encoding="utf-8", errors="replace").splitlines():
        tokenizer.init_kwargs[MARK] = ALWAYS_BEGIN


def is_made_here(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if Likelier trained the model, now or before."""
    return MARK in tokenizer.init_kwargs


def always_begins(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if texts have the beginning token in front and the end token behind, whatever the tokenizer says."""
    return bool(tokenizer.init_kwargs.get(MARK) == ALWAYS_BEGIN)
