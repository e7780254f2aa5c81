"""Checkpoints: written whole or not at all, verified by a manifest of sizes and hashes."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from likelier.errors import DataError
from likelier.files import hash_file, read_json, sync_file, sync_folder, write_atomically, write_json
from likelier.files.outputs import unused_path
from likelier.runs.record import RunRecord
from likelier.terminal import print_stderr

MANIFEST = "MANIFEST.json"


def write_checkpoint(
    folder: Path, step: int, write: Callable[[Path], None], record: Mapping[str, Any] | None = None
) -> Path:
    """Write `checkpoint-<step>` whole or not at all, then point `latest` at it; `record` goes into its manifest.

    Every file is on disk before the manifest names its size and hash, and the manifest before the folder gets its name.
    """
    final, partial = folder / f"checkpoint-{step}", folder / f"tmp-{step}-{os.getpid()}"
    previous = find_newest_checkpoint(folder, quiet=True)
    needed = sum(path.stat().st_size for path in previous.iterdir()) if previous else 0
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"a checkpoint needs {needed} bytes")
    partial.mkdir()
    try:
        write(partial)
        files = sorted(partial.iterdir())
        for path in files:
            sync_file(path)
        entries = {path.name: describe(path) for path in files}
        write_json(partial / MANIFEST, {"step": step, "files": entries, **(record or {})})
        sync_folder(partial)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(folder)
    write_atomically(folder / "latest", lambda file: file.write(final.name + "\n"))
    return final


def describe(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, for the manifest."""
    return {"bytes": path.stat().st_size, "sha256": hash_file(path)}


def find_damage(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used; None if every file has the size and hash of the manifest."""
    if not (checkpoint / MANIFEST).is_file():
        return f"no {MANIFEST}"
    try:
        manifest = read_json(checkpoint / MANIFEST)
        RunRecord.from_json(manifest)
        if not (expected := manifest["files"]):
            return f"{MANIFEST} names no files"
        if checkpoint.name != f"checkpoint-{manifest['step']}":
            return f"its manifest is of step {manifest['step']}"
        for name, entry in expected.items():
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if describe(checkpoint / name) != entry:
                return f"{name} is damaged"
    except (DataError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def read_checkpoint_record(checkpoint: Path) -> RunRecord | None:
    """Return the record in the manifest of an undamaged checkpoint; None if an older version wrote it."""
    return RunRecord.from_json(read_json(checkpoint / MANIFEST))


def read_log_sizes(checkpoint: Path) -> dict[str, int]:
    """Return the bytes of each log when the checkpoint was written. DataError: damaged."""
    path = checkpoint / "run.json"
    content = read_json(path)
    sizes = content.get("logs") if isinstance(content, dict) else None
    if not isinstance(sizes, dict) or not all(isinstance(size, int) and size >= 0 for size in sizes.values()):
        raise DataError(f"{path}: damaged: `logs` is no table of sizes; resume an older checkpoint")
    return sizes


def parse_step(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a run, newest first, damaged ones included."""
    numbered = (path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal())
    paths = [path for path in numbered if path.is_dir()]
    return sorted(paths, key=parse_step, reverse=True)


def find_newest_checkpoint(folder: Path, quiet: bool = False) -> Path | None:
    """Return the newest undamaged checkpoint; each damaged one is named in a line on stderr."""
    for checkpoint in list_checkpoints(folder):
        reason = find_damage(checkpoint)
        if reason is None:
            return checkpoint
        if not quiet:
            print_stderr(f"{checkpoint}: {reason}; trying an older one")
    return None


def list_newer_checkpoints(folder: Path, step: int) -> list[Path]:
    """Return the checkpoints of a run after a step, newest first."""
    return [checkpoint for checkpoint in list_checkpoints(folder) if parse_step(checkpoint) > step]


def set_aside(checkpoints: Sequence[Path]) -> None:
    """Rename checkpoints to `aside-checkpoint-<step>`, where no run looks for them and none deletes them."""
    for checkpoint in checkpoints:
        place = unused_path(checkpoint.with_name(f"aside-{checkpoint.name}"))
        checkpoint.rename(place)
        sync_folder(checkpoint.parent)
        print_stderr(f"{checkpoint}: newer than what is resumed; set aside as {place.name}")
