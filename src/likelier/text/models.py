"""Language models as folders: load, save, copy; transformers' errors become one line."""

import contextlib
import copy
import shutil
from collections.abc import Collection, Iterator, Mapping
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
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging
from transformers.utils.hub import cached_file

from likelier.config import ModelDtype
from likelier.errors import DataError, LikelierError
from likelier.runs.folder import find_model, is_adapter
from likelier.text.chat_template import set_template_kwargs
from likelier.text.convention import MADE_WITH, mark_if_made_before, mark_made
from likelier.text.frozen_weights import store_weights
from likelier.text.model_folder_check import check_model_folder, check_settings_files, is_hub_reachable
from likelier.text.vision_language import is_vision_language, leave_out_picture_tokens
from likelier.training.state import as_os_errors

UNLIMITED = 1 << 30
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


@contextlib.contextmanager
def load_safely(path: str | Path, has_weights: bool = True) -> Iterator[dict[str, Any]]:
    """Check a folder, silence transformers, and convert its exceptions to a DataError of one line.

    Yields keyword arguments for `from_pretrained`: no code from the folder; offline unless the hub is reachable.
    `has_weights`: False where a config is enough.
    """
    check_model_folder(path, has_weights)
    is_remote = not Path(path).is_dir()
    try:
        with silence_transformers():
            yield {"trust_remote_code": False, "local_files_only": is_remote and not is_hub_reachable()}
    except (LikelierError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever foreign code raises over a foreign folder
        reason = " ".join(str(error).split()).partition(" Model type should be one of")[0] or type(error).__name__
        if is_remote and not is_hub_reachable():
            reason = "no such folder, and of a hub model there is no copy here and the hub does not answer"
        advice = "give a folder or hub name"
        if isinstance(error, ImportError):
            advice = "install that package, or give a model that needs none (not quantised, no flash_attention)"
        raise DataError(f"{path}: cannot load this model: {reason[:300]}; {advice}") from error


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """Disable warnings and progress bars of transformers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(
    path: str | Path, template_kwargs: Mapping[str, Any] = {}, has_weights: bool = True
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, whose chat template is given arguments, see `set_template_kwargs`.

    An adapter without one has that of its base. `has_weights`: False where the folder needs none. DataError: see
    `check_model_folder`, or there is no tokenizer.
    """
    model = find_model(path)
    if is_adapter(Path(path)):
        check_settings_files(Path(path))
        path = path if (Path(path) / "tokenizer_config.json").is_file() else model
    with load_safely(model, has_weights) as options:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **options)
        mark_if_made_before(tokenizer, path, options)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):  # what transformers makes of no files
        raise DataError(f"{path}: no tokenizer is in this folder; put tokenizer.json and tokenizer_config.json there")
    set_template_kwargs(tokenizer, template_kwargs)
    return tokenizer


def load_causal_lm(
    path: str | Path, device: torch.device | str = "cpu", dtype: ModelDtype = "float32"
) -> PreTrainedModel:
    """Load a language model in float32, in evaluation mode, with dropout 0; it may read pictures too.

    With another `dtype` its matrices are frozen, see `store_weights`. DataError: see `check_model_folder`, or a
    bidirectional model.
    """
    with load_safely(path) as options:
        reads_pictures = is_vision_language(AutoConfig.from_pretrained(path, **options))
    auto = AutoModelForImageTextToText if reads_pictures else AutoModelForCausalLM
    own = torch.float32 if dtype == "float32" else find_own_dtype(path)  # to store them they need not be unpacked
    model = load_pretrained(auto, path, device if dtype == "float32" else "cpu", own)
    store_weights(model, dtype)
    nn.Module.to(model, device)
    check_causal(model, path)
    if reads_pictures:
        leave_out_picture_tokens(model, path)
    return model


def load_trunk(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Load a language or reward model without its head, to initialise a critic. DataError: see `check_model_folder`."""
    return load_pretrained(AutoModel, path, device)


def load_pretrained(
    auto: Any, path: str | Path, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Load a model with one of transformers' Auto classes. DataError: weights are missing."""
    model, missing = load_partly(auto, path, dtype)
    check_weights_complete(path, model.config, missing)
    nn.Module.to(model, device)
    return model


def load_partly(
    auto: Any, path: str | Path, dtype: torch.dtype = torch.float32, **settings: Any
) -> tuple[PreTrainedModel, Collection[str]]:
    """Load a model with one of transformers' Auto classes, and return which weights are missing and so drawn at random.

    `settings` override entries of its config.
    """
    with load_safely(path) as options:
        config = prepare_config(AutoConfig.from_pretrained(path, **options, **settings))
        if config.is_encoder_decoder and auto is not AutoModelForSequenceClassification:
            raise DataError(
                f"{path}: {config.model_type} has an encoder and a decoder, and policies here read prompt and response "
                "as one text; give a decoder-only model such as Llama, Qwen or GPT-2, with the source in its prompt"
            )
        model: PreTrainedModel
        model, report = auto.from_pretrained(
            path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    return fuse_gelu(model).eval(), report["missing_keys"]


def check_causal(model: PreTrainedModel, name: str | Path) -> None:
    """DataError: a model that cannot run, or is bidirectional and so cannot generate from left to right."""
    with try_out(name):
        causal = is_causal(model)
    if not causal:
        raise DataError(
            f"{name}: {model.config.model_type} reads texts in both directions and cannot write them; give a causal "
            "language model, such as Llama, Qwen or GPT-2"
        )


@contextlib.contextmanager
def try_out(name: str | Path) -> Iterator[None]:
    """Run a model for the first time. DataError: it raises, because sizes in its config are inconsistent."""
    try:
        yield
    except (LikelierError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever foreign code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{name}: this model cannot be run ({reason}); check its config.json") from error


@torch.no_grad()
def is_causal(model: PreTrainedModel) -> bool:
    """True if no token's output depends on later tokens, tested by changing the last of eight tokens."""
    size = min(8, context_length(model))
    tokens = torch.arange(5, 5 + size, device=model.device)[None] % vocabulary_size(model)
    changed = tokens.clone()
    changed[0, -1] = (tokens[0, -1] + 1) % vocabulary_size(model)
    one, other = (model(input_ids=each, attention_mask=torch.ones_like(each))[0][:, :-1] for each in (tokens, changed))
    # Not `<=`: NaN means damaged weights, which whatever uses them reports.
    return not float((one - other).abs().max()) > 1e-4 * float(one.std())


def check_weights_complete(path: str | Path, config: PreTrainedConfig, missing: Collection[str]) -> None:
    """DataError: weights are missing, which transformers would initialise at random; unused poolers may be."""
    lacking = sorted(name for name in missing if "pooler" not in name)
    if lacking:
        architecture = ", ".join(config.architectures or ["another kind of model"])
        raise DataError(
            f"{path}: holds no weights for {lacking[0]}; it is a {architecture}: give a model of the kind needed"
        )


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Replace GPT-2's activation of eight kernels by one: the same formula with a fifth of the memory."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU("tanh"))
    return model


def prepare_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """Set every dropout rate to 0, and drop a padding id without an embedding; returns the config."""
    text = config.get_text_config()
    if text.pad_token_id is not None and text.pad_token_id >= text.vocab_size:
        text.pad_token_id = None  # added to the tokenizer alone; the embedding layer refuses it
    return disable_dropout(config)


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
    """Return the maximum sequence length; very large if the model has no limit.

    Models with LongRoPE (Phi-3.5, Phi-4-mini) switch the rotation of all positions once a text of the batch exceeds
    `original_max_position_embeddings`: log-probabilities would depend on the rest of the batch, and change during
    sampling. That length is therefore their maximum.
    """
    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]  # Llama's, MPT's
    ropes = find_rope_parameters(getattr(config, "rope_parameters", None))
    limits += [rope.get("original_max_position_embeddings") for rope in ropes if rope.get("rope_type") == "longrope"]
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from the one behind the padding's.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min((int(limit) for limit in limits if limit and limit > 0), default=UNLIMITED)


def find_rope_parameters(parameters: Any) -> Iterator[dict[str, Any]]:
    """Settings of rotary positions: one dict, or one per type of layer."""
    if isinstance(parameters, dict):
        yield parameters
        for below in parameters.values():
            yield from find_rope_parameters(below)


def vocabulary_size(model: PreTrainedModel) -> int:
    """Return the number of token embeddings; valid ids are below it."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def make_frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a model without gradients, as the reference."""
    reference = copy.deepcopy(model)
    reference.requires_grad_(False).eval()
    return reference


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str) -> None:
    """Write a Hugging Face model folder atomically; `card`: a sentence on the model's origin."""
    mark_made(tokenizer)
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with silence_transformers(), as_os_errors():
            model.save_pretrained(partial)
            if is_vision_language(model.config):
                copy_processor(tokenizer.name_or_path, partial)
            tokenizer.save_pretrained(partial)
        make_model_card(folder.name, model, card).save(partial / "README.md")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_processor(source: str, target: Path) -> None:
    """Copy the settings of a processor from a model's folder or hub name; not loaded, since packages may be missing."""
    for name in PROCESSOR_FILES:
        file = cached_file(
            source,
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if file is not None:
            shutil.copyfile(file, target / name)


def make_model_card(name: str, model: PreTrainedModel, card: str) -> ModelCard:
    """Make the README of a model folder, in the hub's format."""
    auto = "AutoModelForCausalLM" if model.can_generate() else "AutoModelForSequenceClassification"
    auto = "AutoModelForImageTextToText" if is_vision_language(model.config) else auto
    metadata = ModelCardData(library_name="transformers", tags=["likelier"])
    return ModelCard(f"""---
{metadata.to_yaml()}
---
# {name}

{card}

- architecture: {type(model).__name__}, {model.num_parameters():,} parameters
- load with: `transformers.{auto}.from_pretrained(folder)`
{MADE_WITH}
""")


def find_own_dtype(path: str | Path) -> torch.dtype:
    """Return the type that the weights of a model folder have by its config; float32 if it says none."""
    with load_safely(path) as options:
        dtype = AutoConfig.from_pretrained(path, **options).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def upcast(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"]:
    """Convert logits to float32, unless they are float64: a softmax over the vocabulary in bf16 is off by percents."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
