"""Language models as folders: load, save, copy. transformers' own messages become one line."""

import contextlib
import copy
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from likelier.errors import DataError
from likelier.text.model_folder_check import check_model_folder, is_hub_reachable
from likelier.training.state import as_os_errors

UNLIMITED = 1 << 30


@contextlib.contextmanager
def load_safely(path: str | Path) -> Iterator[dict[str, Any]]:
    """Check a folder, silence transformers, and turn its exceptions into a DataError of one line.

    Yields the arguments that every `from_pretrained` takes: no code from the folder; the hub only where it answers.
    """
    check_model_folder(path)
    is_remote = not Path(path).is_dir()
    try:
        with silence_transformers():
            yield {"trust_remote_code": False, "local_files_only": is_remote and not is_hub_reachable()}
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split()).partition(" Model type should be one of")[0]
        if is_remote and not is_hub_reachable():
            reason = "no such folder, and of a hub model there is no copy here and the hub does not answer"
        raise DataError(f"{path}: cannot load this model: {reason[:300]}; give a folder or hub name") from error


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """No warnings and no progress bars from transformers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. DataError: see `check_model_folder`, or there is none."""
    with load_safely(path) as options:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **options)
    return tokenizer


def load_causal_lm(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A language model in float32, in evaluation mode, its dropout set to 0. DataError: see `check_model_folder`."""
    return load_pretrained(AutoModelForCausalLM, path, device)


def load_trunk(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A language or reward model without its head: where a critic starts. DataError: see `check_model_folder`."""
    return load_pretrained(AutoModel, path, device)


def load_pretrained(auto: Any, path: str | Path, device: torch.device | str, **settings: Any) -> PreTrainedModel:
    """A model of one of transformers' Auto classes; `settings` override entries of its config."""
    with load_safely(path) as options:
        config = disable_dropout(AutoConfig.from_pretrained(path, **options, **settings))
        if config.is_encoder_decoder and auto is not AutoModelForSequenceClassification:
            raise DataError(f"{path}: {config.model_type} has an encoder and a decoder; give a decoder-only model")
        model: PreTrainedModel
        model, report = auto.from_pretrained(
            path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
    if not settings:  # else a new head is asked for
        check_weights_complete(path, config, report["missing_keys"])
    nn.Module.to(fuse_gelu(model).eval(), device)
    return model


def check_weights_complete(path: str | Path, config: PreTrainedConfig, missing: Collection[str]) -> None:
    """DataError: the folder lacks weights, which transformers draws at random; poolers are not used here."""
    lacking = sorted(name for name in missing if "pooler" not in name)
    if lacking:
        architecture = ", ".join(config.architectures or ["another kind of model"])
        raise DataError(
            f"{path}: holds no weights for {lacking[0]}; it is a {architecture}: give a model of the kind needed"
        )


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Replace GPT-2's activation by one kernel instead of eight: the same formula, a fifth of the memory."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU("tanh"))
    return model


def disable_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """Set every dropout rate of a config to 0, and return it.

    PPO's ratio compares two forward passes over the same tokens; with dropout it would not be 1 before the first
    update.
    """
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            disable_dropout(value)
        elif isinstance(value, float) and ("dropout" in name or name.endswith(("pdrop", "drop"))):
            setattr(config, name, 0.0)
    return config


def context_length(model: PreTrainedModel) -> int:
    """Most tokens in one sequence; very large where the model knows no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)  # absent in recurrent models
    return int(limit) if limit and limit > 0 else UNLIMITED


def make_frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy without gradients: the reference."""
    reference = copy.deepcopy(model)
    reference.requires_grad_(False).eval()
    return reference


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str) -> None:
    """Write a Hugging Face model folder, whole or not at all; `card`: a sentence on where the model comes from."""
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with silence_transformers(), as_os_errors():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        make_model_card(folder.name, model, card).save(partial / "README.md")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_model_card(name: str, model: PreTrainedModel, card: str) -> ModelCard:
    """The README of a model folder, as the hub reads it."""
    auto = "AutoModelForCausalLM" if model.can_generate() else "AutoModelForSequenceClassification"
    metadata = ModelCardData(library_name="transformers", tags=["likelier"])
    return ModelCard(f"""---
{metadata.to_yaml()}
---
# {name}

{card}

- architecture: {type(model).__name__}, {model.num_parameters():,} parameters
- load with: `transformers.{auto}.from_pretrained(folder)`
- made with: likelier
""")


def upcast(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"]:
    """Logits in float32, or in float64 where they are: a softmax over a vocabulary in bf16 would be off by percents."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
