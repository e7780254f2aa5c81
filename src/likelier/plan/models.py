"""Models of a config on tensors without data: of their folders `config.json` is enough."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from likelier.config import Config, Memory, ModelDtype, RewardSource
from likelier.errors import ConfigError
from likelier.files import read_object
from likelier.plan.trace import bring_to_cpu
from likelier.ppo.algorithms import ALGORITHMS
from likelier.runs.folder import adapter_folders, find_base, find_model, is_adapter, member_folders
from likelier.text.adapter_folders import check_settings, read_adapter
from likelier.text.adapters import add_adapter, apply_lora, copy_sharing_weights, make_critic_adapter, make_reference
from likelier.text.frozen_weights import BLOCK, QuantisedConv1D, QuantisedLinear, store_weights
from likelier.text.logprobs import SEPARABLE
from likelier.text.models import disable_dropout, fuse_gelu, load_safely, prepare_config
from likelier.text.policy import TextPolicy, ValueHead
from likelier.text.policy_start import put_policy_adapter_on
from likelier.text.vision_language import is_vision_language
from likelier.training.setup import seeded_generator

META = torch.device("meta")
NESTED_BLOCK = 256
"""Scales that share a scale, in 4 bits."""


@dataclass(frozen=True)
class Scorers:
    """Reward models or judges."""

    models: Sequence[PreTrainedModel] = ()
    """One for each pass over a response; adapters on a base in memory share its weights."""
    adapter_bytes: int = 0
    """Of adapters, which are counted by their files and not put on."""


@dataclass(frozen=True)
class Actors:
    """The models of a PPO run."""

    policy: TextPolicy
    reference: PreTrainedModel
    rewards: Scorers
    judges: Scorers


def build_model(auto: Any, path: str | Path, **settings: Any) -> PreTrainedModel:
    """Build a model of the config in a folder, in float32. DataError: see `load_safely`."""
    with load_safely(path, has_weights=False) as options:
        config = prepare_config(AutoConfig.from_pretrained(path, **options, **settings))
        if auto is AutoModelForCausalLM and is_vision_language(config):
            auto = AutoModelForImageTextToText
        with META:
            model: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    fuse_gelu(model).eval()
    return model


def build_policy_model(path: str | Path, dtype: ModelDtype = "float32") -> PreTrainedModel:
    """Build a language model with weights in `dtype`, as `load_language_model` loads one."""
    model = build_model(AutoModelForCausalLM, find_model(path))
    with META:
        store_weights(model, dtype, pack_layer=pack_without_data)
    SEPARABLE[model] = model.get_output_embeddings() is not None  # to try it out takes data
    return model


class PlannedLinear(QuantisedLinear):
    """A linear layer in 4 or 8 bits without data; to unpack it takes no bitsandbytes."""

    def dequantise(self) -> Tensor:
        """Return the shape of the weight."""
        layer: Any = self
        return torch.empty(layer.shape)


class PlannedConv1D(QuantisedConv1D):
    """The same of GPT-2's linear layer."""

    dequantise = PlannedLinear.dequantise


def pack_without_data(layer: Any, dtype: ModelDtype) -> None:
    """Give a linear layer the buffers of `frozen_weights.pack`: the weight, a scale for each block, and in 4 bits those
    in 8 with scales of their own."""
    shape = layer.weight.shape
    blocks = -(-shape.numel() // BLOCK)
    layer.bits, layer.shape = (4 if dtype == "4bit" else 8), shape
    del layer.weight
    layer.register_buffer("packed", torch.empty(shape.numel() * layer.bits // 8, dtype=torch.uint8))
    layer.register_buffer("absmax", torch.empty(blocks, dtype=torch.uint8 if layer.bits == 4 else torch.float32))
    layer.register_buffer("nested", torch.empty(-(-blocks // NESTED_BLOCK) * (layer.bits == 4)))
    layer.__class__ = PlannedConv1D if isinstance(layer, Conv1D) else PlannedLinear


def build_new(architecture: Mapping[str, Any], vocab_size: int) -> PreTrainedModel:
    """Build a language model from scratch. ConfigError: transformers has no such model."""
    settings = dict(architecture) | {"vocab_size": vocab_size}
    kind = str(settings.pop("model_type", ""))
    try:
        config = disable_dropout(AutoConfig.for_model(kind, **settings))
        with META:
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"sft.architecture: {kind or 'no model_type'} cannot be built so: {reason}") from error
    SEPARABLE[model.eval()] = True
    return finish(model)


def finish(*models: PreTrainedModel) -> PreTrainedModel:
    """Bring models to the CPU, and return the first."""
    bring_to_cpu(*models)
    return models[0]


def choose_stored_dtype(memory: Memory, device: torch.device) -> ModelDtype:
    """Return what `choose_base_dtype` does on a device that need not be here; a GPU is taken to have bfloat16."""
    if memory.lora_rank is None:
        return "float32"
    return memory.model_dtype or ("bfloat16" if device.type == "cuda" else "float32")


def build_trained(path: str | Path, memory: Memory, block: str, device: torch.device) -> PreTrainedModel:
    """Build a language model as SFT and DPO train it, with its adapter if `memory` asks for one."""
    model = build_policy_model(path, choose_stored_dtype(memory, device))
    put_start_on(model, path, memory, block)
    with META:
        apply_lora(model, memory, block, 0)
    return finish(model)


def put_start_on(model: PreTrainedModel, path: str | Path, memory: Memory, block: str) -> PreTrainedModel | None:
    """Put the adapter in the folder `path` on its base, if it is one that goes on; returns the base without it."""
    if memory.lora_rank is None or not is_adapter(Path(path)):
        return None
    adapter = read_adapter(Path(path))
    check_settings(adapter, memory, block)
    bare = copy_sharing_weights(model)
    with META:
        put_policy_adapter_on(model, adapter, has_data=False)
    return bare


def build_trained_classifier(path: str | Path, memory: Memory, device: torch.device) -> PreTrainedModel:
    """Build a reward model as it is trained, with its adapter if `memory` asks for one."""
    model = build_classifier(path, choose_stored_dtype(memory, device))
    with META:
        if memory.lora_rank is not None:
            add_adapter(model, memory, "reward_model", seeded_generator(0, 0, "lora"), [name_head(model)])
    return finish(model)


def name_head(model: PreTrainedModel) -> str:
    """Return the name of the layer that scores."""
    names: list[str] = [name for name, layer in model.named_modules() if getattr(layer, "out_features", 0) == 1]
    return names[-1].partition(".")[0]


def build_classifier(path: str | Path, dtype: ModelDtype = "float32") -> PreTrainedModel:
    """Build a reward model on the trunk of a folder, whose head stays in float32."""
    model = build_model(AutoModelForSequenceClassification, path, num_labels=1)
    with META:
        store_weights(model, dtype, [name_head(model)], pack_without_data)
    return model


def build_actors(config: Config, device: torch.device) -> Actors:
    """Build the models of `likelier ppo` in the order of `rlhf.setup.load_actors`."""
    ppo = config.ppo
    dtype = choose_stored_dtype(ppo, device)
    model = build_policy_model(config.model, dtype)
    bare = put_start_on(model, config.model, ppo, "ppo")
    policy = build_policy(model, config)
    reference_dtype = dtype if ppo.lora_rank else ppo.model_dtype or "float32"
    with META:
        if ppo.reference:
            reference = build_policy_model(ppo.reference, reference_dtype)
        else:
            reference = make_reference(model, ppo)
            store_weights(reference, "float32" if ppo.lora_rank else reference_dtype, pack_layer=pack_without_data)
        SEPARABLE[reference] = SEPARABLE[model]
        bases = {(ppo.reference or config.model, reference_dtype): reference}
        if ppo.lora_rank and (ppo.reference or bare):
            bases[find_model(config.model), dtype] = bare or copy_sharing_weights(model)
        apply_lora(model, ppo, "ppo", config.seed)
    rewards, judges = (
        build_scorers(sources, config, ppo.model_dtype, bases) for sources in (config.reward, config.eval.scoring)
    )
    bring_to_cpu(policy, reference, *rewards.models, *judges.models)
    return Actors(policy, reference, rewards, judges)


def build_policy(model: PreTrainedModel, config: Config) -> TextPolicy:
    """Build the policy with the critic that the settings ask for, around a model that has no new adapter yet."""
    ppo = config.ppo
    critic = ppo.critic if ALGORITHMS[ppo.algorithm].has_critic else None
    trunk = None
    with META:
        if critic == "separate":
            trunk = build_model(AutoModel, ppo.critic_model or find_model(config.model))
        elif critic == "adapter":
            trunk = make_critic_adapter(model, ppo, config.seed)
        width = (model if trunk is None else trunk).config.get_text_config().hidden_size
        head = None if critic is None else ValueHead(width)
        return TextPolicy(model, head, trunk, ppo.temperature, bool(ppo.bf16), ppo.gradient_checkpointing)


def build_scorers(
    sources: Iterable[RewardSource],
    config: Config,
    dtype: ModelDtype | None,
    bases: dict[tuple[str, ModelDtype], PreTrainedModel],
) -> Scorers:
    """Build the reward models among sources, on `bases` in memory where they stand on them."""
    models: list[PreTrainedModel] = []
    adapter_bytes = 0
    for source in sources:
        if source.model is None:
            continue
        folders = adapter_folders(Path(source.model))
        if folders:
            base = find_base(Path(folders[0]))
            own = dtype or read_object(Path(folders[0]) / "card.json").get("model_dtype", "float32")
            known = bases.get((base, own))
            models += [build_classifier(base, own) if known is None else known] * len(folders)
            adapter_bytes += sum((Path(folder) / "adapter_model.safetensors").stat().st_size for folder in folders)
        elif is_planned(source.model):
            models.append(build_classifier(config.model, dtype or "float32"))
        else:
            members = member_folders(Path(source.model)) or [source.model]
            models += [build_classifier(member, dtype or "float32") for member in members]
    return Scorers(models, adapter_bytes)


def is_planned(path: str) -> bool:
    """True for the folder of a run that is not there yet."""
    return not Path(path).exists() and (Path(path).parent.is_dir() or len(Path(path).parts) > 2)


def count_trained(modules: Iterable[nn.Module]) -> int:
    """Return the number of weights that are trained."""
    return sum(weight.numel() for module in modules for weight in module.parameters() if weight.requires_grad)
