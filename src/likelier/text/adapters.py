"""LoRA through peft: a few trained weights beside frozen ones, saved by themselves, and merged at the end.

Hu et al. 2022, "LoRA": W x + (alpha / rank) B A x, A drawn at random and B = 0, so that training begins at the base.
"""

import copy
import logging
import shutil
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import LoRA, ModelDtype
from likelier.errors import ConfigError, DataError
from likelier.runs.folder import find_base
from likelier.text.adapter_folders import Adapter
from likelier.text.models import make_frozen_copy, silence_transformers
from likelier.training.setup import seeded_generator
from likelier.training.state import as_os_errors

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it, and it names each kernel it has not

STATE_SPACE = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Families whose scan reads the weights of some layers past their adapters; peft refuses these layers."""


class FrozenBase(NamedTuple):
    """A frozen model in memory, whose weights adapters may share."""

    name: str
    """Its folder or hub name."""
    model: PreTrainedModel
    dtype: ModelDtype = "float32"
    """Of its stored weights."""

    def is_base_of(self, adapter: Path) -> bool:
        """True if the adapter in a folder changes this model."""
        base = find_base(adapter)
        return base == self.name or (Path(base).is_dir() and Path(base).resolve() == Path(self.name).resolve())


class FrozenModels(NamedTuple):
    """How reward models are loaded beside others in memory."""

    bases: Sequence[FrozenBase] = ()
    """Models whose weights adapters on them share."""
    dtype: ModelDtype | None = None
    """How weights are stored; None: as an adapter was trained, else in float32."""
    shard: bool = False
    """Divide the weights among the processes."""


def make_reference(model: PreTrainedModel, lora: LoRA) -> PreTrainedModel:
    """The frozen reference: a copy of the model, or with LoRA the base, which the adapter leaves as it is.

    Of a model whose adapter goes on it is the base with a copy of that adapter.
    """
    return make_frozen_copy(model) if lora.lora_rank is None else copy_sharing_weights(model, list_adapter(model))


def apply_lora(model: PreTrainedModel, lora: LoRA, block: str, seed: int) -> None:
    """Add an adapter to a model, if the settings in `block` ask for one and it has none that goes on."""
    if lora.lora_rank is not None and not model._hf_peft_config_loaded:
        add_adapter(model, lora, block, seeded_generator(seed, 0, "lora"))


def list_adapter(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the weights of a model's adapter, with layers that it holds whole; none where it has no adapter."""
    return [weight for weight in model.parameters() if weight.requires_grad] if model._hf_peft_config_loaded else []


def copy_sharing_weights(model: PreTrainedModel, own: Sequence[Tensor] = ()) -> PreTrainedModel:
    """A copy of the modules that shares all weights but `own`: an adapter added to one of the two does not reach the
    other.

    So the base of an adapter serves as the reference, without a second copy of its weights in memory.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    for weight in own:
        del shared[id(weight)]
    copied: PreTrainedModel = copy.deepcopy(model, shared)  # what its memo holds is not copied
    copied.requires_grad_(False).eval()
    return copied


def make_critic_adapter(model: PreTrainedModel, lora: LoRA, seed: int) -> PreTrainedModel:
    """The trunk of a critic: an adapter of its own on the model's frozen weights, which it shares.

    Beside an adapter that goes on it begins as a copy of that: at the states of the policy's start.
    """
    own = list_adapter(model)
    names = {name for name, weight in model.base_model.named_parameters() if weight.requires_grad}
    trunk = copy_sharing_weights(model, own).base_model
    assert isinstance(trunk, PreTrainedModel), type(trunk)
    if own:
        for name, weight in trunk.named_parameters():
            weight.requires_grad_(name in names)
    else:
        add_adapter(trunk, lora, "ppo", seeded_generator(seed, 0, "critic lora"))
    return trunk


def add_adapter(
    model: PreTrainedModel, lora: LoRA, block: str, generator: torch.Generator, whole: Sequence[str] = ()
) -> None:
    """Freeze a model and add an adapter to the layers that the settings in `block` name.

    Without dropout: PPO compares two passes over the same tokens. `whole`: layers of a sequence classifier that are
    trained themselves, its head among them, and get no adapter. ConfigError: no layer of such a name.
    """
    from peft import LoraConfig

    assert lora.lora_rank is not None, "lora_rank is not set"
    starts = tuple(f"{name}." for name in whole)
    excluded = [name for name, _ in model.named_modules() if f"{name}.".startswith(starts)]
    if not lora.lora_targets and model.config.model_type in STATE_SPACE:
        excluded += ["out_proj", "conv1d"]
    config = LoraConfig(
        r=lora.lora_rank,
        lora_alpha=lora.lora_alpha,
        target_modules=lora.lora_targets or "all-linear",
        exclude_modules=excluded or None,
        lora_dropout=0.0,
        task_type="SEQ_CLS" if whole else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(generator.initial_seed())
        warnings.simplefilter("ignore")  # peft warns of GPT-2's Conv1D layers, whose weights are transposed
        try:
            model.add_adapter(config)
        except ValueError as error:
            reason = " ".join(str(error).split())
            targets = ", ".join(lora.lora_targets) or "all linear layers"
            raise ConfigError(f"{block}.lora_targets: {targets}: {reason[:200]}") from error
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    keep_in_float(model)
    model.eval()


def put_adapter_on(model: PreTrainedModel, adapter: Adapter, name: str = "default", has_data: bool = True) -> None:
    """Freeze a model, and add an adapter from its folder under a name; its whole layers stay out.

    `has_data`: False on tensors without data. DataError: its matrices are not those of layers of this model.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of GPT-2's Conv1D layers, whose weights are transposed
        try:
            model.add_adapter(copy.deepcopy(adapter.config), name)
            keep_in_float(model)
            wanted = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).keys()
            if differing := sorted(wanted ^ adapter.matrices.keys()):
                raise ValueError(f"{differing[0]} is in one of them alone")
            if has_data:
                set_peft_model_state_dict(model, adapter.matrices, adapter_name=name)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{adapter.folder}: does not fit its base {adapter.base}: {reason}") from error
    model.eval()


def keep_in_float(model: PreTrainedModel) -> None:
    """Bring the weights of adapters back to float32: peft gives them the type of a stored base."""
    for name, weight in model.named_parameters():
        if "lora_" in name and weight.dtype in (torch.bfloat16, torch.float16):
            weight.data = weight.data.float()


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


def save_adapter(
    folder: Path, base: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, whole: Sequence[str] = ()
) -> None:
    """Write an adapter as peft reads it, with its tokenizer and the layers that were trained `whole`, or not at all.

    The adapter names its base by an absolute path: peft looks for a relative one from wherever it is run. The base's
    own weights stay out, of adapted embeddings too, which peft would add: training leaves them as they are.
    """
    from peft import get_peft_model_state_dict

    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    (name,) = model.active_adapters()
    config: Any = copy.copy(model.peft_config[name])
    config.base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
    weights = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    config.modules_to_save = list(whole) or None
    for layer in whole:
        weights |= {f"{layer}.{key}": value.detach() for key, value in model.get_submodule(layer).state_dict().items()}
    named = {f"base_model.model.{key}": weight.contiguous().cpu() for key, weight in weights.items()}
    try:
        with silence_transformers(), as_os_errors():
            config.save_pretrained(str(partial))
            save_file(named, partial / "adapter_model.safetensors", metadata={"format": "pt"})
            tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def untie_adapted(model: PreTrainedModel) -> None:
    """Give the output layer a weight of its own, if it shares that of the embeddings and one of them has an adapter.

    An adapter changes one of the two; added to the weight that they share it would change the other as well.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    has_adapter = [isinstance(layer, LoraLayer) for layer in layers]
    embeddings, output = (
        layer.get_base_layer() if adapted else layer for layer, adapted in zip(layers, has_adapter, strict=True)
    )
    if output is not None and any(has_adapter) and output.weight is embeddings.weight:
        output.weight = nn.Parameter(output.weight.detach().clone(), requires_grad=False)
        mark_untied(model)


def mark_untied(model: PreTrainedModel) -> None:
    """Let a model know that embeddings and output layer have weights of their own, so that both are saved."""
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    model.all_tied_weights_keys = {}
