"""Precision of forward passes: bfloat16 and TF32 by default where a GPU has them."""

import contextlib
from collections.abc import Iterator

import torch

from likelier.config import Config, Training
from likelier.stages import STAGES
from likelier.training.setup import pick_device


def has_bfloat16(device: torch.device) -> bool:
    """True for a GPU with instructions for bfloat16, which then has them for TF32 too (Ampere and later)."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(verb: str, config: Config) -> Config:
    """Return the config of a stage with `bf16` as it will be, and let float32 products use TF32 where it is on."""
    block = STAGES[verb].block
    settings = getattr(config, block)
    if verb == "gym" or not isinstance(settings, Training):
        return config
    config = set_bf16(config, block, has_bfloat16(pick_device(settings.device)))
    if getattr(config, block).bf16 and has_bfloat16(pick_device(settings.device)):
        torch.set_float32_matmul_precision("high")
    return config


def set_bf16(config: Config, block: str, bf16: bool) -> Config:
    """Return a config in whose block `bf16` has a value, this one where it had none."""
    settings = getattr(config, block)
    if settings.bf16 is not None:
        return config
    return config.model_copy(update={block: settings.model_copy(update={"bf16": bf16})})


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32: what compares two ways to the same numbers must not see TF32's rounding."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
