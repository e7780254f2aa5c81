"""Checks of untrusted model folders before loading: no pickles, no code, valid safetensors."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]  # httpx's or httpx2's
from safetensors import SafetensorError, safe_open

from likelier.errors import DataError

MAX_CONFIG_BYTES = 10_000_000
LAYER_COUNTS = {"num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"}
MAX_LAYERS_A_TENSOR = 10
"""Layers may share their weights (ALBERT), but not by thousands."""
HUB_TIMEOUT_SECONDS = 5.0
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check_model_folder(path: str | Path, has_weights: bool = True) -> None:
    """Reject a folder whose model cannot be loaded without running code from the folder.

    Weights must be safetensors with valid headers; no config may refer to code (`auto_map`) or hub kernels. A path that
    does not exist passes if it may be a hub name. DataError: what is wrong and what to do, in one line.
    """
    folder = Path(path)
    if not folder.is_dir():
        # runs/ppo-2 where runs is a folder: a folder was meant, not a hub name
        parent_exists = folder.parent != Path() and folder.parent.is_dir()
        if folder.exists() or folder.is_symlink() or parent_exists or not HUB_NAME.fullmatch(str(path)):
            raise DataError(f"{path}: no such model folder; give a folder with config.json and model.safetensors")
        return
    check_configs(folder)
    if has_weights:
        check_layer_counts(folder / "config.json", check_weights(folder))


@cache
def is_hub_reachable() -> bool:
    """True if the hub answers one short request; its own client would retry for a minute."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS)
    except (HTTPError, OfflineModeIsEnabled):
        return False
    return True


def check_configs(folder: Path) -> None:
    """DataError: `config.json` is missing, invalid, or requires code."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise DataError(f"{folder}: an adapter without its model; give the folder of the merged one (a run's `model`)")
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder}: no config.json; give a Hugging Face model folder")
    check_settings_files(folder)
    if not isinstance(read_json_object(folder / "config.json").get("model_type"), str):
        raise DataError(f"{folder / 'config.json'}: no `model_type`; give a Hugging Face model folder")


def check_settings_files(folder: Path) -> None:
    """DataError: a config in a folder requires code."""
    for file in sorted(folder.glob("*config.json")):
        config = read_json_object(file)
        for key, value in walk_settings(config):
            if key == "auto_map":
                raise DataError(
                    f"{file}: `auto_map` asks to run code from the folder; use a model without its own code"
                )
            if key.endswith("_implementation") and "/" in str(value):
                raise DataError(f"{file}: `{key}` asks for kernels from a hub ({value}); remove that line")


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a JSON object of at most ten megabytes. DataError: too large, invalid, or not an object."""
    size = file.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise DataError(f"{file}: {size} bytes is too large for a config; download the model again")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: broken JSON; download the model again") from error
    if not isinstance(config, dict):
        raise DataError(f"{file}: expected a JSON object, got {type(config).__name__}")
    return config


def walk_settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all (key, value) pairs at any depth."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield key, below
            yield from walk_settings(below)
    elif isinstance(value, list):
        for below in value:
            yield from walk_settings(below)


def check_weights(folder: Path) -> int:
    """Return the number of tensors. DataError: no safetensors, a missing or misplaced shard, or a bad header."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = {"model.safetensors"}
    elif index.is_file():
        names = read_shard_names(index)
    else:
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise DataError(
                f"{folder}: weights only as {pickles[0]}, which can run code when loaded; convert them to safetensors"
            )
        raise DataError(f"{folder}: no model.safetensors; give a Hugging Face model folder with its weights")
    num_tensors = 0
    for name in sorted(names):
        if name != Path(name).name:
            raise DataError(f"{index}: shard `{name}` lies outside of the folder; download the model again")
        num_tensors += check_header(folder / name)
    return num_tensors


def check_layer_counts(file: Path, num_tensors: int) -> None:
    """DataError: more layers than these weights can fill; transformers would allocate them all first."""
    for key, value in walk_settings(read_json_object(file)):
        if key in LAYER_COUNTS and isinstance(value, int) and not 0 <= value <= MAX_LAYERS_A_TENSOR * num_tensors:
            raise DataError(f"{file}: `{key}` is {value}, the weights hold {num_tensors} tensors; download it again")


def read_shard_names(index: Path) -> set[str]:
    """The file names in a shard index."""
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataError(f"{index}: no `weight_map`; download the model again")
    return {str(name) for name in weight_map.values()}


def check_header(file: Path) -> int:
    """Return the number of tensors. DataError: a missing file, or a header that is huge, invalid or inconsistent."""
    if not file.is_file():
        raise DataError(f"{file}: missing; download the model again")
    try:
        with safe_open(file, framework="numpy") as tensors:
            count = len(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not sound safetensors ({' '.join(str(error).split())}); download it again") from error
    if not count:
        raise DataError(f"{file}: holds no tensors; download the model again")
    return count
