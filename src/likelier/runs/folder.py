"""Makes, locks and removes the folder of a run, and finds the models in it."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import lock_descriptor

from likelier.errors import ConfigError, DataError, LikelierError, cannot_write
from likelier.files import read_object

LOCK = ".lock"


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that are new, the innermost first."""
    created: list[Path] = []
    try:
        created += [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(created)
        raise cannot_write(folder, error, "; give another --out") from error
    return created


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those folders that exist and are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_created(folder: Path, created: Sequence[Path]) -> None:
    """Remove what a failed start left: the folder and those of its new parents that are empty, or, of a folder that
    was there before, only what it holds now.

    Windows keeps files that are still open (the lock); `is_unused` then still holds for the folder.
    """
    if folder in created:
        shutil.rmtree(folder, ignore_errors=True)
        remove_empty(created[1:])
        return
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def take_lock(folder: Path) -> int:
    """Lock the folder for this process and return the descriptor that keeps it locked until it is closed.

    The operating system releases the lock when the process ends, however it ends. ConfigError: another process has it.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = lock_descriptor(lock, blocking=False)
        except OSError:
            os.close(lock)
            raise
    except OSError as error:
        raise cannot_write(folder, error, "; give another --out") from error
    if not locked:
        os.close(lock)
        raise ConfigError(f"{folder}: another process is training in this folder")
    return lock


def is_unused(folder: Path) -> bool:
    """True if the folder does not exist or holds nothing but a lock."""
    return not folder.is_dir() or all(entry.name == LOCK for entry in folder.iterdir())


def member_folders(run: Path) -> list[str]:
    """Return `model`, `model-1`, … in the folder of a reward run; nothing if this is no run."""
    if not (run / "model").is_dir() or (run / "config.json").exists():
        return []
    return [str(run / "model"), *number_folders(run, "model")]


def adapter_folders(run: Path) -> list[str]:
    """Return `adapter`, `adapter-1`, … in the folder of a reward run, or an adapter's own folder; nothing if its models
    are whole."""
    if is_adapter(run):
        return [str(run)]
    # A policy has an adapter too, but it gives no score, so that no card says where its scores begin.
    if not (run / "adapter" / "card.json").is_file():
        return []
    return [str(run / "adapter"), *number_folders(run, "adapter")]


def is_adapter(folder: Path) -> bool:
    """True for the folder of an adapter, as peft writes it."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def find_base(adapter: Path) -> str:
    """Return the folder or hub name of the model that an adapter changes. DataError: its config is damaged.

    A folder that is gone is looked for beside the adapter: both may have been moved.
    """
    base = read_object(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise DataError(
            f"{adapter / 'adapter_config.json'}: no `base_model_name_or_path`; name the adapter's model there"
        )
    beside = adapter.resolve().parent / Path(base).name
    return str(beside) if not Path(base).is_dir() and (beside / "config.json").is_file() else base


def find_model(name: str | Path) -> str:
    """Return the folder or hub name of a model: of an adapter its base. DataError: see `find_base`."""
    return find_base(Path(name)) if is_adapter(Path(name)) else str(name)


def number_folders(run: Path, name: str) -> list[str]:
    """Return `name-1`, `name-2`, … in a folder, by number."""
    others = [folder for folder in run.glob(f"{name}-*") if folder.name.removeprefix(f"{name}-").isdecimal()]
    return list(map(str, sorted(others, key=lambda folder: int(folder.name.removeprefix(f"{name}-")))))


def disk_error(folder: Path, error: OSError) -> LikelierError:
    """Return the error for a checkpoint or log that could not be written."""
    return LikelierError(f"{folder}: cannot write ({error.strerror}); older checkpoints stand; make room and resume")
