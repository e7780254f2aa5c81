"""Upgrades a database to the newest schema in one transaction, after a backup of a SQLite file."""

import filecmp
import sqlite3
from itertools import chain, count
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from likelier.errors import LikelierError, cannot_write
from likelier.feedback.database import APPLICATION_ID, copy_sqlite, remove_copy
from likelier.files import sync_file, sync_folder


def upgrade(writer: sa.Engine) -> None:
    """Run the missing migrations in one transaction: killing the process leaves the database unchanged."""
    with writer.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        else:  # two processes that come at once: the second waits, and finds nothing left to do
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPLICATION_ID)))
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        command.upgrade(config, "head")


def back_up(path: Path, version: str) -> Path:
    """Copy a SQLite file to `<file>.bak-<version>` and return the copy's path; call it under the lock of the database.

    The copy is a consistent snapshot, write-ahead log included, and flushed to disk before it is renamed.
    LikelierError, ConfigError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.bak.tmp")
    remove_copy(partial)  # of a process that was killed
    try:
        copy_sqlite(path, partial)
        sync_file(partial)
        backup = name_backup(partial, path.with_name(f"{path.name}.bak-{version}"))
        sync_folder(path.parent)
        return backup
    except OSError as error:
        raise cannot_write(partial, error, "; the database is as it was") from error
    except sqlite3.Error as error:
        raise LikelierError(f"{path}: cannot be backed up ({error}); the database is as it was") from error
    finally:
        remove_copy(partial)


def name_backup(copy: Path, target: Path) -> Path:
    """Rename a copy to `target`, with a number if that exists: an earlier backup is never overwritten.

    An identical backup (of a migration that was killed) is reused.
    """
    names = chain([target.name], (f"{target.name}.{number}" for number in count(2)))
    candidate = next(
        candidate
        for candidate in map(target.with_name, names)
        if not candidate.exists() or filecmp.cmp(candidate, copy, shallow=False)
    )
    return candidate if candidate.exists() else copy.rename(candidate)
