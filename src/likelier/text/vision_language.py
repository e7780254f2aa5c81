"""Vision-language models: which they are, and what their output layer may not say."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from likelier.errors import DataError
from likelier.text.padding import PAD

NO_WORD = re.compile(r"(image|video|audio|vision_start|vision_end|boi|eoi)_token_(id|index)")
"""Settings of a config that name tokens which stand for pictures and the like."""


def is_vision_language(config: PreTrainedConfig) -> bool:
    """True for a model that transformers loads as one from pictures and texts to texts."""
    return (
        config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        and getattr(config, "vision_config", None) is not None
    )


def leave_out_picture_tokens(model: PreTrainedModel, name: str | Path) -> None:
    """Give the tokens that stand for pictures probability 0, everywhere that the output layer is run.

    A response that held one would be read as a prompt with one picture more than it has. Sampling and training run
    the same layer, so that both know the same distribution: the model's without these tokens. DataError: one of them
    has the id that fills shorter rows.
    """
    config = model.config
    names = (*vars(config), "image_token_id", "image_token_index")
    found = {getattr(config, name, None) for name in names if NO_WORD.fullmatch(name)}
    head: Any = model.get_output_embeddings()
    if head is None:
        raise DataError(f"{name}: {config.model_type} has no output layer of its own; give another model")
    ids = sorted(token for token in found if isinstance(token, int) and 0 <= token < head.weight.shape[0])
    if PAD in ids:
        raise DataError(f"{name}: token {PAD} stands for pictures, and fills shorter rows here; give another model")
    head.register_forward_hook(partial(mask_tokens, ids))


def mask_tokens(ids: list[int], layer: nn.Module, args: Any, logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"]:
    """Logits with -inf at some tokens."""
    return logits.index_fill(-1, torch.tensor(ids, device=logits.device), -torch.inf)
