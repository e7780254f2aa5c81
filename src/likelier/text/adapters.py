"""LoRA through peft: a few weights beside frozen ones, which are trained, saved apart, and merged at the end.

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
from likelier.text.models import frozen_copy, load_causal_lm, quiet, save_model
from likelier.training.setup import seeded_generator


def reference_of(model: PreTrainedModel, lora: LoRA) -> PreTrainedModel:
    """What the model is before it is trained: a copy, or, where an adapter is to be put on it, the base under that."""
    return frozen_copy(model) if lora.lora_rank is None else sharing_copy(model)


def adapt(model: PreTrainedModel, lora: LoRA, block: str, seed: int) -> None:
    """Put an adapter on a model, if the settings in `block` ask for one."""
    if lora.lora_rank is not None:
        add_adapter(model, lora, block, seeded_generator(seed, 0, "lora"))


def save_trained(
    folder: Path, base: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str
) -> None:
    """Write `model`. With LoRA that is the base with the adapter merged into it, and `adapter` holds that by itself."""
    if model._hf_peft_config_loaded:
        save_adapter(folder / "adapter", model)
        model = merged(base, folder / "adapter")
    save_model(folder / "model", model, tokenizer, card)


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in modules of their own: what is added to one of the two does not reach the other.

    So the base of an adapter stays at hand as the reference, without a second copy of its weights.
    """
    kept = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copied: PreTrainedModel = copy.deepcopy(model, kept)
    copied.requires_grad_(False).eval()
    return copied


def add_adapter(model: PreTrainedModel, lora: LoRA, block: str, generator: torch.Generator) -> None:
    """Freeze a model and put an adapter beside the layers that the settings in `block` name.

    There is no dropout: PPO compares two passes over the same tokens. ConfigError: no layer of such a name.
    """
    from peft import LoraConfig

    assert lora.lora_rank is not None, "no adapter is asked for"
    targets = lora.lora_targets or "all-linear"
    config = LoraConfig(
        r=lora.lora_rank, lora_alpha=lora.lora_alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(generator.initial_seed())
        warnings.simplefilter("ignore")  # peft tells of GPT-2's layers, whose weights lie the other way round
        try:
            model.add_adapter(config)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{block}.lora_targets: {', '.join(lora.lora_targets)}: {reason[:200]}") from error
    model.eval()


def can_be_merged(model: PreTrainedModel) -> bool:
    """Whether every adapter of a model stands beside a linear layer; those beside embeddings and the like do not."""
    from peft.tuners.lora import Linear, LoraLayer

    return all(isinstance(module, Linear) for module in model.modules() if isinstance(module, LoraLayer))


def merged_weight(layer: Any) -> Tensor:
    """`W + (alpha / rank) B A`, the way round that `W` lies."""
    weight: Tensor = layer.get_base_layer().weight
    for name in layer.active_adapters:
        weight = weight + layer.get_delta_weight(name)
    return weight


def save_adapter(folder: Path, model: PreTrainedModel) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with quiet():
            model.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def merged(base: str, adapter: Path) -> PreTrainedModel:
    """A plain model: the base, as it is in its folder, with a saved adapter added to its weights."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers in words that it no longer likes
        whole: PreTrainedModel = PeftModel.from_pretrained(load_causal_lm(base), str(adapter)).merge_and_unload()
    return whole
