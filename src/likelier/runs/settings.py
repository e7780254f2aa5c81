"""Start of a run: its settings, compared when it is resumed, and the versions that decide its numbers."""

import importlib.metadata
import platform
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import likelier
from likelier.config import build_config, read_yaml
from likelier.errors import ConfigError
from likelier.stages import STAGES

Difference = tuple[str, Any, Any]
"""(dotted field, old value, new value)"""


def collect_versions(verb: str = "") -> dict[str, str]:
    """Return versions of Python and of the packages that decide the numbers; those of a stage too."""
    versions = {"python": platform.python_version(), "likelier": likelier.__version__}
    for name in dict.fromkeys(("torch", "transformers", "numpy", *(STAGES[verb].packages if verb in STAGES else ()))):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def refuse_changes(path: Path, settings: Mapping[str, Any], kind: str, may_change: Collection[str]) -> None:
    """ConfigError: the run (or search) with its settings in the file `path` was started with others than these.

    A setting that is newer than the file counts as its default.
    """
    recorded = build_config(read_yaml(path), source=str(path)).model_dump(mode="json")
    for name, old, new in list_differences(recorded, settings):
        if name.rpartition(".")[2] not in may_change:
            raise ConfigError(f"{path}: this {kind} was started with {name}={old!r}, not {new!r}; use another --out")


def list_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterable[Difference]:
    """Where two nested settings differ."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from list_differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
