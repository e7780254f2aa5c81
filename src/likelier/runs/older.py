"""Runs that an older version began and that go on here: texts and defaults must stay as they were."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from likelier.config import Config
from likelier.config.yaml_file import read_yaml
from likelier.runs.record import NOT_COMPARED, read_run_json

GOES_ON: ContextVar[bool] = ContextVar("GOES_ON", default=False)
"""True while a run that an older version began is trained in this process."""

FORMER_DEFAULTS: dict[tuple[str, str], Any] = {
    ("reward_model", "num_epochs"): 1,
    ("ppo", "response_length"): 64,
    ("eval", "response_length"): 64,
    ("circle", "accept"): "always",
    ("sft", "bf16"): False,
    ("reward_model", "bf16"): False,
    ("dpo", "bf16"): False,
    ("ppo", "bf16"): False,
    ("gym", "bf16"): False,
}
"""Defaults that have changed since the first release, as they were."""


def keep_former_defaults(config: Config, folder: Path) -> Config:
    """Return the settings with the defaults of the version that began the run, search or circle in `folder`.

    Runs and searches have recorded their settings: what is not a former default there stays as it is now. A setting
    that the user gives stays too.
    """
    recorded = folder / "config.yaml"
    if not recorded.is_file() and not was_begun_by_older(folder):
        return config
    settings = read_yaml(recorded) if recorded.is_file() else None
    for (block, name), former in FORMER_DEFAULTS.items():
        given = getattr(config, block)
        own = (settings.get(block) or {}).get(name) if settings is not None else former
        if name not in given.model_fields_set and own == former:
            config = config.model_copy(update={block: given.model_copy(update={name: former})})
    return config


def was_begun_by_older(folder: Path) -> bool:
    """True for a run that was resumed from a checkpoint of a version that recorded no inputs."""
    changes = read_run_json(folder).get("changes")
    entries = changes if isinstance(changes, list) else []
    return any(isinstance(entry, dict) and NOT_COMPARED.items() <= entry.items() for entry in entries)


@contextlib.contextmanager
def go_on_from(checkpoint: Path | None) -> Iterator[None]:
    """Set `GOES_ON` while a run is trained; `checkpoint` lies in the folder of rank 0, which recorded the resume."""
    token = GOES_ON.set(checkpoint is not None and was_begun_by_older(checkpoint.resolve().parent))
    try:
        yield
    finally:
        GOES_ON.reset(token)
