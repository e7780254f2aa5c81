"""Checkpoints: written whole or not at all, verified by a manifest of sizes and hashes."""

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from likelier.errors import DataError
from likelier.files import read_json, sync_file, sync_folder, write_atomically, write_json

MANIFEST = "MANIFEST.json"


def write_checkpoint(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Write `checkpoint-<step>` whole or not at all, then point `latest` at it.

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
        write_json(partial / MANIFEST, {"step": step, "files": entries})
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
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def find_damage(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used; None if every file has the size and hash of the manifest."""
    if not (checkpoint / MANIFEST).is_file():
        return f"no {MANIFEST}"
    try:
        manifest = read_json(checkpoint / MANIFEST)
        expected = manifest["files"]
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


def parse_step(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a run, newest first, damaged ones included."""
    paths = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(paths, key=parse_step, reverse=True)


def find_newest_checkpoint(folder: Path, quiet: bool = False) -> Path | None:
    """Return the newest undamaged checkpoint; each damaged one is named in a line on stderr."""
    for checkpoint in list_checkpoints(folder):
        reason = find_damage(checkpoint)
        if reason is None:
            return checkpoint
        if not quiet:
            print(f"{checkpoint}: {reason}; trying an older one", file=sys.stderr)
    return None
