"""SHA-256 of everything that a run reads: prompts, data, models, users' code."""

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from likelier.config import Config, RewardSource
from likelier.config.evaluation import is_response_file
from likelier.config.rewards import name_function
from likelier.errors import DataError
from likelier.files import hash_file
from likelier.runs.folder import adapter_folders, find_base, member_folders
from likelier.stages import STAGES, Stage
from likelier.userfile import find_module_source, is_module_name

Hashes = dict[str, dict[str, str]]
"""Setting (`reward.0.function`), then file as the setting names it, then its SHA-256."""
Kind = Literal["file", "pairs", "model", "code", "callable"]

MODEL_FILES = frozenset((".safetensors", ".json", ".model", ".txt", ".jinja", ".tiktoken"))
"""Endings of the files in a model's folder that decide what it computes: weights, config, tokenizer, chat template."""


def hash_inputs(verb: str, config: Config) -> Hashes:
    """Return the hashes of all inputs of a stage, or of a circle.

    What is not there, or cannot be read, is left out: the stage names it in its own error. So is a model of the hub of
    which there is no copy yet, see `hash_downloads`.
    """
    hashes = {setting: hash_input(kind, value) for setting, kind, value in list_inputs(verb, config)}
    return {setting: files for setting, files in hashes.items() if files}


def hash_downloads(verb: str, config: Config, known: Hashes) -> Hashes:
    """Return `known` with the models that the hub has sent since."""
    missing = [each for each in list_inputs(verb, config) if each[0] not in known and each[1] == "model"]
    return known | {setting: files for setting, kind, value in missing if (files := hash_input(kind, value))}


def list_inputs(verb: str, config: Config) -> Iterator[tuple[str, Kind, Any]]:
    """Yield (setting, kind, value) of each setting that names something to be read."""
    if verb == "circle":  # its prompts are part of the keys of its stages, its data are its own
        yield "model", "model", config.model
        yield from list_block_inputs(STAGES["ppo"], config)
        yield from list_sources("reward", config.reward)
        yield from list_sources("eval.scorer", config.eval.scoring)
        yield "eval.knowledge", "file", config.eval.knowledge
        return
    stage = STAGES[verb]
    yield from list_block_inputs(stage, config)
    if "model" in stage.inputs:
        yield "model", "model", config.model
    if "data" in stage.inputs:
        yield "data", "pairs" if stage.folds == "conversation" else "file", config.data
    if "prompts" in stage.inputs and (not stage.is_baseline or getattr(config, stage.block).eval_steps):
        yield "prompts", "file", config.prompts
        yield from list_sources("reward", config.reward)
        yield from list_sources("eval.scorer", config.eval.scoring)
        yield "eval.knowledge", "file", config.eval.knowledge


FILE_ENDINGS = (".py", ".yaml", ".yml")
"""Of an environment that is a file of the user's."""


def list_missing(config: Config) -> list[str]:
    """Return `setting: value: what is missing` for every file, model and code of a config that is not there.

    A model that is no path may be on the hub, which is not asked; an environment's id is known to Gymnasium alone.
    """
    named = list_named(config)
    faults = {setting: find_fault(kind, value) for setting, (kind, value) in named.items()}
    return [f"{setting}: {named[setting][1]}: {fault}" for setting, fault in faults.items() if fault]


def list_hub_names(config: Config) -> list[str]:
    """Return `setting: value` for every model that is not here, and so must be on the hub."""
    models = {setting: value for setting, (kind, value) in list_named(config).items() if kind == "model"}
    return [f"{key}: {value}" for key, value in models.items() if not (Path(value).exists() or is_model_path(value))]


def list_named(config: Config) -> dict[str, tuple[Kind, Any]]:
    """Return the files, models and code that a config names, by setting."""
    evaluation = config.eval
    named: dict[str, tuple[Kind, Any]] = {
        "model": ("model", config.model),
        "prompts": ("file", config.prompts),
        "data": ("file", config.data),
        "eval.model_a": (find_kind(evaluation.model_a), evaluation.model_a),
        "eval.model_b": (find_kind(evaluation.model_b), evaluation.model_b),
        "eval.prompts": ("file", evaluation.prompts),
        "eval.knowledge": ("file", evaluation.knowledge),
        "gym.preferences.taste": ("code", config.gym.preferences and config.gym.preferences.taste),
    }
    named |= {
        f"{name}.{field}": ("file", getattr(block, field))
        for name, block in (("circle", config.circle), ("eval", evaluation))
        for field in ("tls_cert", "tls_key")
    }
    named |= {
        f"eval.others.{number}.model": (find_kind(each.model), each.model)
        for number, each in enumerate(evaluation.others)
    }
    inputs = [each for stage in STAGES.values() for each in list_block_inputs(stage, config)]
    inputs = [each for each in inputs if each[0] != "gym.env_id" or each[2].partition(":")[0].endswith(FILE_ENDINGS)]
    inputs += list_sources("reward", config.reward)
    inputs += list_sources("eval.scorer", evaluation.scoring)
    inputs += list_sources("eval.selector", evaluation.selector)
    named |= {setting: (kind, value) for setting, kind, value in inputs}
    return {setting: (kind, value) for setting, (kind, value) in named.items() if value}


def find_kind(model: str) -> Kind:
    """Return what the name of a model to evaluate stands for: a model, or a file of its responses."""
    return "file" if is_response_file(model) else "model"


def find_fault(kind: Kind, value: Any) -> str:
    """Return what is missing of an input; empty if it is there, or may be on the hub."""
    if kind == "callable":
        return ""
    if kind in ("file", "pairs"):
        return "" if Path(value).exists() else "no such file"
    if kind == "code":
        return "" if find_code_files(value) else "no such file or module"
    if Path(value).exists():
        return "" if find_model_files(value) else "no model in it"
    return "no such folder" if is_model_path(value) else ""


def is_model_path(value: str) -> bool:
    """True if the name of a model that is not here can only be a path, and no `name` or `owner/name` on the hub."""
    first, *rest = Path(value).parts
    return value.startswith(("/", ".", "~")) or len(rest) > 1 or Path(first).is_dir() or bool(re.search(r"\s", value))


def list_block_inputs(stage: Stage, config: Config) -> Iterator[tuple[str, Kind, Any]]:
    """Yield the inputs that the block of a stage names."""
    block = getattr(config, stage.block)
    for field, kind in stage.files.items():
        value, name = getattr(block, field), type(block).model_fields[field].alias or field
        if isinstance(value, list):
            yield from ((f"{stage.block}.{name}.{number}", kind, each) for number, each in enumerate(value))
        elif value != type(block).model_fields[field].default:
            yield f"{stage.block}.{name}", kind, value


def list_sources(setting: str, sources: Sequence[RewardSource]) -> Iterator[tuple[str, Kind, Any]]:
    """Yield the inputs of sources of scores; a service has none."""
    for number, source in enumerate(sources):
        if source.model is not None:
            yield f"{setting}.{number}.model", "model", source.model
        if source.function is not None:
            kind: Kind = "callable" if callable(source.function) else "code"
            yield f"{setting}.{number}.function", kind, source.function


def hash_input(kind: Kind, value: Any) -> dict[str, str]:
    """Return the hashes of what a setting names, by file; empty if nothing is there or it cannot be read."""
    if not value:
        return {}
    if kind == "callable":
        return hash_callable(value)
    finders: Mapping[str, Callable[[str], dict[str, Path]]] = {
        "file": functools.partial(find_data_files, parts=("train",)),
        "pairs": functools.partial(find_data_files, parts=("train", "valid", "test")),
        "model": find_model_files,
        "code": find_code_files,
    }
    try:
        return {name: hash_file(path) for name, path in finders[kind](value).items()}
    except (OSError, DataError):
        return {}


def find_data_files(name: str, parts: Sequence[str]) -> dict[str, Path]:
    """Return a file, or those of a folder's `train.jsonl`, `valid.jsonl`, `test.jsonl` that are read."""
    paths = [Path(name, f"{part}.jsonl") for part in parts] if Path(name).is_dir() else [Path(name)]
    return {str(path): path for path in paths if path.is_file()}


def find_model_files(name: str) -> dict[str, Path]:
    """Return the files of a model's folder, of all models of a reward run, or of the local copy of a hub model; of
    adapters those of their base too."""
    folder = Path(name) if Path(name).is_dir() else find_hub_copy(name)
    if folder is None:
        return {}
    adapters = adapter_folders(folder)
    members = [*member_folders(folder), *adapters] or [str(folder)]
    paths = [path for each in members for path in sorted(Path(each).iterdir())]
    used = [path for path in paths if path.suffix in MODEL_FILES and path.is_file()]
    files = {str(Path(name, path.relative_to(folder))): path for path in used}
    for base in dict.fromkeys(find_base(Path(adapter)) for adapter in adapters):
        files |= find_model_files(base)
    return files


def find_hub_copy(name: str) -> Path | None:
    """Return the local copy of a hub model; None if there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def find_code_files(where: str) -> dict[str, Path]:
    """Return the source of `file.py:name`, of `package.module:name`, or a file that stands for code (of an MDP)."""
    place = where.rpartition(":")[0] or where
    if Path(place).is_file():
        return {place: Path(place)}
    source = find_module_source(place) if place != where and is_module_name(place) else None
    return {place: source} if source else {}


def hash_callable(function: Callable[..., Any]) -> dict[str, str]:
    """Return the hash of the source of a function that was passed from Python; empty if Python does not know it.

    Of the function alone: the script around it may say `resume="auto"` now.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    try:
        source = inspect.getsource(inner if inspect.isroutine(inner) else type(inner))
    except (OSError, TypeError):
        return {}
    return {name_function(function): hashlib.sha256(source.encode()).hexdigest()}
