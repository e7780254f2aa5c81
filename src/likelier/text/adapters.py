"""LoRA through peft: a few trained weights beside frozen ones, saved by themselves, and merged at the end.

Hu et al. 2022, "LoRA": W x + (alpha / rank) B A x, A drawn at random and B = 0, so that training begins at the base.
"""

import copy
import shutil
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import LoRA
from likelier.errors import ConfigError
from likelier.text.models import load_causal_lm, make_frozen_copy, save_model, silence_transformers
from likelier.training.setup import seeded_generator


def make_reference(model: PreTrainedModel, lora: LoRA) -> PreTrainedModel:
    """The frozen reference: a copy of the model, or with LoRA the base, which the adapter leaves as it is."""
    return make_frozen_copy(model) if lora.lora_rank is None else copy_sharing_weights(model)


def apply_lora(model: PreTrainedModel, lora: LoRA, block: str, seed: int) -> None:
    """Add an adapter to a model, if the settings in `block` ask for one."""
    if lora.lora_rank is not None:
        add_adapter(model, lora, block, seeded_generator(seed, 0, "lora"))


def save_trained(
    folder: Path, base: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str
) -> None:
    """Write the folder `model`; with LoRA the base with the adapter merged in, and the folder `adapter` beside it."""
    if model._hf_peft_config_loaded:
        save_adapter(folder / "adapter", model)
        model = load_merged(base, folder / "adapter")
    save_model(folder / "model", model, tokenizer, card)


def copy_sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules that shares the weights: an adapter added to one of the two does not reach the other.

    So the base of an adapter serves as the reference, without a second copy of its weights in memory.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copied: PreTrainedModel = copy.deepcopy(model, shared)  # what its memo holds is not copied
    copied.requires_grad_(False).eval()
    return copied


def add_adapter(model: PreTrainedModel, lora: LoRA, block: str, generator: torch.Generator) -> None:
    """Freeze a model and add an adapter to the layers that the settings in `block` name.

    Without dropout: PPO compares two passes over the same tokens. ConfigError: no layer of such a name.
    """
    from peft import LoraConfig

    assert lora.lora_rank is not None, "lora_rank is not set"
    targets = lora.lora_targets or "all-linear"
    config = LoraConfig(
        r=lora.lora_rank, lora_alpha=lora.lora_alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(generator.initial_seed())
        warnings.simplefilter("ignore")  # peft warns of GPT-2's Conv1D layers, whose weights are transposed
        try:
            model.add_adapter(config)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{block}.lora_targets: {', '.join(lora.lora_targets)}: {reason[:200]}") from error
    model.eval()


def is_mergeable(model: PreTrainedModel) -> bool:
    """True if every adapter of a model is on a linear layer, not on an embedding or the like."""
    from peft.tuners.lora import Linear, LoraLayer

    return all(isinstance(module, Linear) for module in model.modules() if isinstance(module, LoraLayer))


def merge_weight(layer: Any) -> Tensor:
    """`W + (alpha / rank) B A`, in the orientation of `W`."""
    weight: Tensor = layer.get_base_layer().weight
    for name in layer.active_adapters:
        weight = weight + layer.get_delta_weight(name)
    return weight


def save_adapter(folder: Path, model: PreTrainedModel) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with silence_transformers():
            model.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_merged(base: str, adapter: Path) -> PreTrainedModel:
    """The base model with a saved adapter added to its weights: a plain model."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft calls transformers with arguments that are deprecated
        model: PreTrainedModel = PeftModel.from_pretrained(load_causal_lm(base), str(adapter)).merge_and_unload()
    return model
