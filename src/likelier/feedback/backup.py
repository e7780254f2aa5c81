"""Copies a feedback database with its media files, even while a server or an import is writing to it."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from likelier.errors import ConfigError, LikelierError, cannot_write
from likelier.feedback.database import copy_sqlite, remove_copy
from likelier.feedback.media import MediaFolder
from likelier.feedback.store import Store
from likelier.files import check_not_folder, make_parent, sync_file, sync_folder
from likelier.files.outputs import MEDIA_SUFFIX, is_stream


def back_up_store(store: Store, target: Path) -> dict[str, int]:
    """Copy a consistent snapshot to `target` and its media to `<target>.media`; returns the numbers of both.

    The copy is flushed to disk, media files first, before it is renamed to `target`. ConfigError: a PostgreSQL
    database, or `target` is no file, ends in `.gz` or cannot be written. LikelierError: writing failed. DataError: a
    media file is missing or was changed.
    """
    if store.path is None:
        raise ConfigError(f"{store.name}: a PostgreSQL database; pg_dump backs it up")
    if is_stream(target):
        raise ConfigError(f"{target}: a pipe or a device; a database needs a file")
    if target.suffix == ".gz":
        raise ConfigError(f"{target}: a backup is a database, not packed; leave .gz out, and pack it afterwards")
    real = Path(os.path.realpath(target))
    partial = real.with_name(f".{real.name}.{os.getpid()}.tmp")
    try:
        check_not_folder(real)
        make_parent(real)
        copy_sqlite(store.path, partial)
        sync_file(partial)
        with copy_media(store, real.with_name(f"{real.name}{MEDIA_SUFFIX}")) as num_media:
            num_judgements = count_judgements(partial)
            os.replace(partial, real)
        sync_folder(real.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    except sqlite3.Error as error:
        raise LikelierError(f"{store.name}: cannot be copied to {target} ({error})") from error
    finally:
        remove_copy(partial)
    return {"judgements": num_judgements, "media": num_media}


@contextlib.contextmanager
def copy_media(store: Store, folder: Path) -> Iterator[int]:
    """Copy all media files into a folder and yield their number; a new folder is removed if the backup fails."""
    media, is_new = store.media(), not folder.exists()
    try:
        for record in media:
            store.media_folder.copy_to(record, MediaFolder(folder, str(folder)).path_of(record.sha256))
        yield len(media)
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def count_judgements(path: Path) -> int:
    """Count the judgements in an unfinished copy, read-only and without side files."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as copy:
        return int(copy.execute("SELECT count(*) FROM judgements").fetchone()[0])
