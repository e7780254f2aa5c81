"""The record of a run's inputs and versions, in `run.json` and in each checkpoint; compared on resume."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from likelier.config import Config
from likelier.errors import ConfigError, DataError
from likelier.files import read_json, write_json
from likelier.runs.folder import is_unused
from likelier.runs.inputs import Hashes, hash_inputs
from likelier.runs.settings import collect_versions
from likelier.runs.torchrun import torchrun_rank
from likelier.stages import STAGES
from likelier.terminal import print_stderr

RECORD = "run.json"
SHORT_HASH = 8
NOT_COMPARED = {"name": "inputs", "before": "not recorded", "now": "not compared"}
"""The entry in `changes` of `run.json` for a checkpoint of an older version."""


@dataclass(frozen=True)
class Change:
    """An input, a version or the number of processes that is not what it was."""

    name: str
    before: str | None
    """None: it was not there."""
    now: str | None
    """None: it is gone."""

    def __str__(self) -> str:
        return f"{self.name} ({shorten(self.before)}, now {shorten(self.now)})"


def shorten(value: str | None) -> str:
    """Return the beginning of a hash; anything else as it is."""
    if value is None:
        return "absent"
    return value[:SHORT_HASH] if len(value) == 64 else value


@dataclass(frozen=True)
class RunRecord:
    """All that must stay the same for a resumed run to end with the same bits, beside its settings."""

    run_id: str
    """Random, made once for each run folder."""
    processes: int
    versions: dict[str, str]
    inputs: Hashes

    def to_json(self) -> dict[str, Any]:
        """Return the fields for `run.json` and for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "RunRecord | None":
        """Read the fields back; None if an older version wrote them. TypeError: they have other types."""
        if "run_id" not in fields:
            return None
        run_id, processes, versions, inputs = (
            fields.get(name) for name in ("run_id", "processes", "versions", "inputs")
        )
        if not isinstance(inputs, dict) or not all(map(is_text_table, (versions, *inputs.values()))):
            raise TypeError("inputs or versions")
        if not isinstance(run_id, str) or not isinstance(processes, int):
            raise TypeError("run_id or processes")
        return cls(run_id, processes, dict(versions or {}), inputs)


def is_text_table(value: Any) -> bool:
    """True for a JSON object of texts."""
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def make_record(verb: str, config: Config, run_id: str | None = None) -> RunRecord:
    """Record versions and inputs as they are now, under the id of the run, or a new one."""
    _, processes = torchrun_rank()
    return RunRecord(run_id or uuid.uuid4().hex, processes, collect_versions(verb), hash_inputs(verb, config))


def read_run_json(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`; empty if there is none. DataError: it is damaged."""
    path = folder / RECORD
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def read_record(folder: Path) -> RunRecord | None:
    """Return the record in a run's `run.json`; None if there is none. DataError: it is damaged."""
    try:
        return RunRecord.from_json(read_run_json(folder))
    except TypeError as error:
        raise DataError(f"{folder / RECORD}: damaged ({error})") from error


def read_verb(folder: Path) -> str:
    """Return the command that made a folder; empty if nothing says so. DataError: `run.json` is damaged."""
    verb = read_run_json(folder).get("verb", "")
    if verb:
        return str(verb)
    signs = {"demo": "demo.json", "circle": "round-1", "search": "trial-1"}  # of versions that wrote no run.json there
    return next((verb for verb, name in signs.items() if (folder / name).exists()), "")


def refuse_other_verb(folder: Path, verb: str) -> None:
    """ConfigError: another command made the folder."""
    maker = read_verb(folder)
    if maker not in ("", verb):
        raise ConfigError(
            f"{folder}: a folder of `{maker}`, not of `{verb}`; resume it with {maker}, or give another --out"
        )


def list_changes(before: RunRecord, now: RunRecord, verb: str) -> Iterator[Change]:
    """Yield what differs between two records of a stage.

    What one of them does not record is not compared: of an input that is gone the stage says so itself.
    """
    for setting in [name for name in before.inputs if name in now.inputs]:
        files, current = before.inputs[setting], now.inputs[setting]
        for name in [*files, *(name for name in current if name not in files)]:
            if files.get(name) != current.get(name):
                yield Change(f"{setting} {name}", files.get(name), current.get(name))
    packages = STAGES[verb].packages if verb in STAGES else STAGES["ppo"].packages
    for name in ("python", *packages):
        versions = [comparable_version(name, record.versions.get(name)) for record in (before, now)]
        if None not in versions and versions[0] != versions[1]:
            yield Change(name, before.versions[name], now.versions[name])
    if before.processes != now.processes:
        yield Change("number of processes", str(before.processes), str(now.processes))


def comparable_version(name: str, version: str | None) -> str | None:
    """Return what counts of a version: of Python's the first two numbers, of a package's all."""
    if version is None or name != "python":
        return version
    return ".".join(version.split(".")[:2])


def check_changes(
    where: str,
    before: RunRecord | None,
    now: RunRecord,
    verb: str,
    accept: bool,
    accepted: Collection[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Compare what is resumed with what is there now; returns what is to be recorded as changed.

    `before`: of the checkpoint; None if an older version wrote it, which is said in a warning. `accepted`: changes
    since the same checkpoint that an earlier resume has recorded. ConfigError: others, and `accept` is False.
    """
    if before is None:
        if NOT_COMPARED not in accepted:
            print_stderr(f"{where}: made by an older version, which recorded no inputs: they are not compared")
        return [NOT_COMPARED]
    changes = [change for change in list_changes(before, now, verb) if asdict(change) not in accepted]
    if changes and not accept:
        raise ConfigError(
            f"{where}: changed since: {'; '.join(map(str, changes))}; bring back what was, "
            f"or go on with what is now by --accept-changes"
        )
    for change in changes:
        print_stderr(f"{where}: goes on with another {change}")
    changes += notable_changes(before, now)
    return [asdict(change) for change in changes]


def notable_changes(before: RunRecord, now: RunRecord) -> list[Change]:
    """Return the changes that are recorded and never refused: a newer Likelier resumes older runs."""
    versions = [record.versions.get("likelier") for record in (before, now)]
    return [Change("likelier", *versions)] if versions[0] != versions[1] else []


def compare_folder(folder: Path, verb: str, config: Config, accept: bool, stage: str = "") -> None:
    """Compare the inputs of a circle or a search of `stage` with those at its start, and record them in `run.json`.

    A setting that names other files now is no change of an input: both know by themselves what follows from it.
    ConfigError: another command made the folder, or changes that `accept` does not allow.
    """
    refuse_other_verb(folder, verb)
    content, before = read_run_json(folder), read_record(folder)
    now = make_record(stage or verb, config, before.run_id if before else None)
    changes = []
    if before:
        same = {name: files for name, files in before.inputs.items() if files.keys() & now.inputs.get(name, {}).keys()}
        before = replace(before, inputs=same)
    if before or not is_unused(folder):
        changes = check_changes(str(folder), before, now, stage or verb, accept)
    about = {"verb": verb, "seed": config.seed, **now.to_json()}
    write_json(folder / RECORD, about | {"changes": extend_changes(content.get("changes"), changes)})


def select_changes(recorded: Any, step: int) -> list[dict[str, Any]]:
    """Return the changes in `run.json` that were recorded when the checkpoint of that step was resumed."""
    entries = [entry for entry in recorded if isinstance(entry, dict)] if isinstance(recorded, list) else []
    return [
        {name: value for name, value in entry.items() if name != "step"}
        for entry in entries
        if entry.get("step") == step
    ]


def extend_changes(recorded: Any, new: Sequence[Mapping[str, Any]], step: int | None = None) -> list[dict[str, Any]]:
    """Add changes, at a step, to those that a run has recorded before; each once."""
    changes = list(recorded) if isinstance(recorded, list) else []
    for change in new:
        entry = {**({} if step is None else {"step": step}), **change}
        if entry not in changes:
            changes.append(entry)
    return changes
