"""Folders of LoRA adapters, as peft and TRL write them: what they hold, and what cannot be used."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from likelier.config import LoRA
from likelier.errors import ConfigError, DataError
from likelier.runs.folder import find_base
from likelier.text.model_folder_check import check_header, read_json_object

PREFIX = "base_model.model."
"""Prefix that peft gives the names of weights."""
WEIGHTS = "adapter_model.safetensors"
HARMLESS_INITS = ("gaussian", "orthogonal", "eva")
"""Starts of an adapter that leave its base as it is. PiSSA, OLoRA, LoftQ and others change the base as well: with the
base that it names the adapter is another model than the one that was trained."""
BEYOND_LORA = (
    "use_dora",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "megatron_config",
    "ensure_weight_tying",
)
"""Entries of `adapter_config.json` that make an adapter something else than W x + scale B A x and whole layers."""


class Adapter(NamedTuple):
    """An adapter as it lies in its folder."""

    folder: Path
    base: str
    """Folder or hub name of the model that it changes."""
    config: Any
    """peft's `LoraConfig`, without dropout, to be trained, and without `modules_to_save`."""
    matrices: dict[str, Tensor]
    """Its A and B, by their names in the model."""
    layers: dict[str, dict[str, Tensor]]
    """The weights of layers that it holds whole, by layer and by their name in it."""
    trained: Sequence[str]
    """Ends of the names of layers that were trained whole, from `modules_to_save`; peft also writes others."""

    def trains(self, layer: str) -> bool:
        """True if it holds a layer because that was trained."""
        return any(f".{name}." in f".{layer}." for name in self.trained)


def read_adapter(folder: Path, is_classifier: bool = False) -> Adapter:
    """Read an adapter; `is_classifier`: of a reward model, not of a language model.

    DataError: no safe weights, an adapter of another kind of model, or one that is more than plain LoRA.
    """
    about = read_json_object(folder / "adapter_config.json")
    base = find_base(folder)
    check_plain_lora(folder, about)
    task = "SEQ_CLS" if is_classifier else "CAUSAL_LM"
    if about.get("task_type") not in (task, None):
        raise DataError(f"{folder}: an adapter for {about['task_type']}, and {task} is needed here")
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder}: no {WEIGHTS}; save the adapter with peft's save_pretrained, as safetensors")
    check_header(folder / WEIGHTS)
    matrices: dict[str, Tensor] = {}
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / WEIGHTS).items():
        name = key.removeprefix(PREFIX)
        if ".lora_" in name:
            matrices[name] = value
        elif ".base_layer." not in name:  # peft writes the base of adapted embeddings too
            layer, _, weight = name.rpartition(".")
            layers.setdefault(layer, {})[weight] = value
    return Adapter(folder, base, read_config(folder), matrices, layers, about.get("modules_to_save") or [])


def read_config(folder: Path) -> Any:
    """Read peft's config of an adapter, changed so that what it adds is trained without dropout."""
    from peft import PeftConfig  # takes a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of entries that a newer peft has written
        try:
            config: Any = PeftConfig.from_pretrained(str(folder))
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"{folder / 'adapter_config.json'}: {' '.join(str(error).split())[:200]}") from error
    # PPO compares two passes over the same tokens. Whatever drew A and B, their numbers are in the folder.
    config.lora_dropout, config.inference_mode, config.init_lora_weights = 0.0, False, True
    config.modules_to_save = None  # such layers are the model's own, see `Adapter.layers`
    return config


def check_plain_lora(folder: Path, about: Mapping[str, Any]) -> None:
    """DataError: the config of an adapter asks for something beside LoRA."""
    found = next((name for name in BEYOND_LORA if about.get(name)), None)
    init = about.get("init_lora_weights")
    if about.get("peft_type") != "LORA":
        found = "peft_type"
    elif isinstance(init, str) and init not in HARMLESS_INITS:
        found = "init_lora_weights"
    elif about.get("bias") not in (None, "none"):
        found = "bias"
    if found:
        raise DataError(
            f"{folder / 'adapter_config.json'}: `{found}` is {about.get(found)!r}, and only plain LoRA can be used; "
            "merge the adapter with peft (merge_and_unload) and give the folder of that model"
        )


def check_settings(adapter: Adapter, lora: LoRA, block: str) -> None:
    """ConfigError: the settings in `block` ask for another adapter than the one that goes on."""
    own: Any = adapter.config
    for name, wanted, found in (("rank", lora.lora_rank, own.r), ("alpha", lora.lora_alpha, own.lora_alpha)):
        if wanted != found:
            raise ConfigError(
                f"{block}.lora_{name}: {wanted}, and the adapter in {adapter.folder} has {found}; set that"
            )
    targets = own.target_modules
    if lora.lora_targets and (isinstance(targets, str) or set(lora.lora_targets) != set(targets)):
        raise ConfigError(f"{block}.lora_targets: the adapter in {adapter.folder} has its own; leave them out")
