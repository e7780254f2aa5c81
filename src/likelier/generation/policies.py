"""Finds the model that a policy's folder holds now: its own, a run's, or that of a circle's newest accepted round."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from likelier.errors import DataError
from likelier.files import list_file_states, read_json, stable_id
from likelier.runs.folder import is_adapter
from likelier.stages import STAGES

VERSIONED = re.compile(r".+@(round-\d+-)?[0-9a-f]{8}", re.DOTALL)
"""The name under which a policy of a folder is stored."""


@dataclass(frozen=True)
class Policy:
    """A policy as it is now; a run that writes a better one changes its `version`."""

    source: str
    """The folder, or the hub's name, as it was given."""
    model: str
    """The model folder, or the hub's name."""
    version: str
    """Changes with every file of the folder; empty for a model of the hub, which is not watched."""

    @property
    def name(self) -> str:
        """Name of the model of a stored response."""
        return f"{self.source}@{self.version}" if self.version else self.source


def find_policy(source: str) -> Policy:
    """Return the policy that a folder holds now. DataError: it holds none."""
    folder = Path(source)
    if not folder.is_dir():
        return Policy(source, source, "")
    model, round_name = find_model_folder(folder)
    if not (model / "config.json").is_file() and not is_adapter(model):
        raise DataError(
            f"{source}: no model in it; give a model folder, the folder of a run, or of a circle with an accepted round"
        )
    try:
        version = stable_id(list_file_states(model))[:8]
    except OSError as error:  # a run is just replacing its files
        raise DataError(f"{model}: changed while it was read ({error.strerror})") from error
    return Policy(source, str(model), f"{round_name}-{version}" if round_name else version)


def find_model_folder(folder: Path) -> tuple[Path, str]:
    """Return a model folder, of a circle with the name of its round."""
    if (folder / "config.json").is_file() or is_adapter(folder):
        return folder, ""
    rounds = [each for each in folder.glob("round-*") if each.name.removeprefix("round-").isdecimal()]
    for each in sorted(rounds, key=lambda each: int(each.name.removeprefix("round-")), reverse=True):
        model = each / STAGES["ppo"].circle_folder / "model"
        if model.is_dir() and is_accepted(each):
            return model, each.name
    return folder / "model", ""


def is_accepted(round_folder: Path) -> bool:
    """True if a round of a circle is done and its policy was accepted; older versions accepted every one."""
    report = round_folder / "circle.json"
    return report.is_file() and read_json(report).get("accepted", True) is not False


def is_former(name: str, current: Collection[str]) -> bool:
    """True for the model of a stored response that was a policy of a folder, and is none of the `current` ones.

    While it is not known yet which are current, none is former: what was answered before a restart is shown again.
    """
    return bool(current) and name not in current and VERSIONED.fullmatch(name) is not None
