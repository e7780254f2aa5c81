"""LoRA through peft: a few weights beside frozen ones, which are trained, saved apart, and merged at the end.

Hu et al. 2022, "LoRA": W x + (alpha / rank) B A x, A drawn at random and B = 0, so that training begins at the base.
"""

import copy
import shutil
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from likelier.errors import ConfigError
from likelier.text.models import load_causal_lm, quiet


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in modules of their own: what is added to one of the two does not reach the other.

    So the base of an adapter stays at hand as the reference, without a second copy of its weights.
    """
    kept = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copied: PreTrainedModel = copy.deepcopy(model, kept)
    copied.requires_grad_(False).eval()
    return copied


def add_adapter(
    model: PreTrainedModel, rank: int, alpha: int, targets: Sequence[str], generator: torch.Generator
) -> None:
    """Freeze a model and put an adapter beside its layers named `targets`; none named: all linear ones but the output.

    There is no dropout: PPO compares two passes over the same tokens. ConfigError: no layer of such a name.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(targets) or "all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(generator.initial_seed())
        warnings.simplefilter("ignore")  # peft tells of GPT-2's layers, whose weights lie the other way round
        try:
            model.add_adapter(config)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"ppo.lora_targets: {', '.join(targets)}: {reason[:200]}") from error
    model.eval()


def can_be_merged(model: PreTrainedModel) -> bool:
    """Whether every adapter of a model stands beside a linear layer; those beside embeddings and the like do not."""
    return all(type(module) is Linear for module in model.modules() if isinstance(module, LoraLayer))


def merged_weight(layer: Linear) -> Tensor:
    """`W + (alpha / rank) B A`, the way round that `W` lies."""
    weight: Tensor = layer.get_base_layer().weight
    return weight + sum(layer.get_delta_weight(name) for name in layer.active_adapters if name in layer.lora_A)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers in words that it no longer likes
        whole: PreTrainedModel = PeftModel.from_pretrained(load_causal_lm(base), str(adapter)).merge_and_unload()
    return whole
