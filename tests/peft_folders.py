"""Adapters by peft itself, trained a little, as users bring them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel


def save_peft_adapter(base: Path, folder: Path, is_classifier: bool = False, **settings: Any) -> Any:
    """Write an adapter on a base, with settings of `LoraConfig`, and return peft's model."""
    auto: Any = AutoModelForSequenceClassification if is_classifier else AutoModelForCausalLM
    more = {"num_labels": 1} if is_classifier else {}
    task = "SEQ_CLS" if is_classifier else "CAUSAL_LM"
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1, "task_type": task}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # peft's own
        torch.manual_seed(0)
        model: Any = get_peft_model(auto.from_pretrained(base, **more), LoraConfig(**lora | settings))
        nudge(weight for weight in model.parameters() if weight.requires_grad)
        model.eval().save_pretrained(folder)
    return model


def load_by_peft(base: Path, adapter: Path) -> PreTrainedModel:
    """Load an adapter as peft does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: PreTrainedModel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    return model


@torch.no_grad()
def nudge(weights: Any) -> None:
    """Change weights as an optimizer would."""
    for at, weight in enumerate(weights):
        step: Tensor = 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(at))
        weight.add_(step)
