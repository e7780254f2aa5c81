"""Tables of the feedback database, and opening, checking and locking it: SQLite or PostgreSQL."""

import contextlib
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import sqlalchemy as sa
from filelock import lock_descriptor
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool

from likelier.addresses import fill_secrets
from likelier.errors import ConfigError, DataError, LikelierError, cannot_write
from likelier.files import PRIVATE, make_parent, open_private
from likelier.files.outputs import database_files

APPLICATION_ID = 0x4C696B65
"""Marks a SQLite file as ours ("Like" in ASCII)."""
SCHEMA = "0007"
"""The newest step in `migrations/`: the version that is written."""
READABLE = ("0001", "0002", "0003", "0004", "0005", "0006", SCHEMA)
"""Versions that can be read as they are. Before the first write an older one is migrated."""
WAIT_SECONDS = 5.0
"""How long to wait for another writer."""
WAIT_FOR_SERVER_SECONDS = 1.0
"""How long to wait for a server, which ends only when it is stopped."""
SERVING = ", serving it at "
"""In the lock's file, between the number of the process and the address of its page."""
MEDIA_FOLDER = "media_folder"
"""The word in the query of a PostgreSQL URL that says where media files are."""
SQLITE_SETTINGS = ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "cache_size=-65536")

SIGNS_OF_DAMAGE = ("malformed", "no such table", "no such column", "decode to UTF-8", "not a database", "mismatch")
"""In SQLite's messages about what a file holds; the others are about locks, disks and permissions."""


class DamagedRow(ValueError):
    """A row holds what Likelier never writes: the file is damaged, or another program has changed it."""


def database_url(db: str | Path) -> sa.URL:
    """Convert a path or URL to a URL of the driver in use. ConfigError: neither SQLite nor PostgreSQL."""
    if isinstance(db, Path) or "://" not in db:
        return sa.URL.create("sqlite", database=str(db))
    try:
        url = sa.make_url(fill_secrets(db))
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ConfigError(f"--db {db!r}: not a URL that SQLAlchemy understands") from error
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return sa.URL.create("sqlite", database=url.database)
    raise ConfigError(f"--db {url.render_as_string()}: give a file, or a URL that begins with postgresql://")


def list_files(db: str | Path) -> list[Path]:
    """Return the possible files of a SQLite database; none of PostgreSQL. ConfigError: as for `database_url`."""
    url = database_url(db)
    return database_files(Path(url.database or "")) if url.get_backend_name() == "sqlite" else []


def prepare_file(path: Path, create: bool) -> None:
    """Create an empty file if it is absent and `create`.

    DataError: the file is absent and not `create`. LikelierError: it cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a database file")
    if path.exists() and not path.is_file():  # opening a pipe waits for whoever writes to it
        raise DataError(f"{path}: a pipe or a device, not a database file")
    if not path.exists():
        if not create:
            raise DataError(f"{path}: no such database; `likelier data import` makes one")
        try:
            make_parent(path)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE))  # SQLite gives its other files the same mode
        except OSError as error:
            raise cannot_write(path, error) from error


def sqlite_engine(path: Path, mode: str) -> sa.Engine:
    """Make the engine for one file: any number of readers (`ro`), or a single writer (`rw`)."""

    def connect() -> sqlite3.Connection:
        try:
            connection = connect_sqlite(path, mode)
            for setting in SQLITE_SETTINGS if mode == "ro" else ("journal_mode=WAL", *SQLITE_SETTINGS):
                connection.execute(f"PRAGMA {setting}")
        except UnicodeDecodeError as error:  # SQLite's own message quotes the damaged bytes
            raise sqlite3.DatabaseError("malformed: a name or a text of it is not UTF-8") from error
        return connection

    size, begin = (8, "BEGIN") if mode == "ro" else (1, "BEGIN IMMEDIATE")
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=size, max_overflow=0)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def connect_sqlite(path: Path, mode: str) -> sqlite3.Connection:
    """Connect to a SQLite file, `ro` or `rw`, with the driver's own transactions disabled.

    On read-only media SQLite cannot create its shared-memory file. Nobody can write there either, so the file is opened
    as immutable, unless there is a write-ahead log with more data.
    """
    connection = open_connection(path, f"mode={mode}")
    if mode == "rw":
        return connection
    try:
        connection.execute("PRAGMA schema_version")  # the first look at the file
    except sqlite3.OperationalError:
        log = path.with_name(f"{path.name}-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            return connection
        connection.close()
        return open_connection(path, "mode=ro&immutable=1")
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # damaged: whoever reads it says so
        pass
    return connection


def open_connection(path: Path, options: str) -> sqlite3.Connection:
    """Open a SQLite file with URI options."""
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)


def copy_sqlite(path: Path, target: Path) -> None:
    """Copy a consistent snapshot by SQLite's backup API, write-ahead log included.

    The copy has the mode of the database, without access for others: it holds people's names.
    """
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, PRIVATE))
    if sys.platform != "win32":
        target.chmod(stat.S_IMODE(path.stat().st_mode) & ~stat.S_IRWXO)
    with (
        contextlib.closing(connect_sqlite(path, "ro")) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def remove_copy(path: Path) -> None:
    """Remove an unfinished copy and SQLite's side files."""
    for file in (path, path.with_name(f"{path.name}-journal"), path.with_name(f"{path.name}-wal")):
        file.unlink(missing_ok=True)


def checkpoint_wal(connection: sa.Connection) -> bool:
    """Checkpoint the write-ahead log into the database file; call it outside a transaction.

    False: readers blocked it, and part of the data is still only in the log.
    """
    driver: Any = connection.connection.driver_connection
    busy, num_logged, num_written = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy or num_logged == num_written


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode number of a file; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_state(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def postgresql_engine(url: sa.URL) -> sa.Engine:
    """Return an engine for PostgreSQL. ConfigError: psycopg is not installed."""
    try:
        return sa.create_engine(url)
    except ModuleNotFoundError as error:
        raise ConfigError("PostgreSQL needs the extra: pip install 'likelier[postgres]'") from error


def check_schema(connection: sa.Connection) -> str | None:
    """Describe what is wrong with a database; None if it is ours and readable, or still empty."""
    tables = set(sa.inspect(connection).get_table_names())
    if connection.dialect.name == "sqlite":
        mark = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        if not tables and mark in (0, APPLICATION_ID):
            return None
        if mark != APPLICATION_ID:
            return "a database of another program; give the file that `likelier data import` made"
        damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if damage != "ok":
            problem = " ".join(damage.split())
            return f"damaged ({problem}); go back to a copy, or save what can be read with `sqlite3 FILE .recover`"
    if tables and "alembic_version" not in tables:
        return "its tables are not Likelier's"
    version = read_version(connection)
    if version is not None and version not in READABLE:
        return f"its tables are of version {version}, this Likelier knows {SCHEMA}; use the release that made it"
    return None


def read_version(connection: sa.Connection) -> str | None:
    """Return the schema version; None if there are no tables yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def lock_path(path: Path) -> Path:
    """Return the lock file of a database's writer. (Locking the database file itself would release SQLite's locks.)"""
    return path.with_name(f"{path.name}.lock")


def acquire_lock(path: Path) -> TextIO:
    """Lock a database for writing until the returned file is closed or this process ends in any way.

    LikelierError: another process still holds the lock after `WAIT_SECONDS`, or locking fails; or the file has a second
    name (a hard link), which has a lock and a write-ahead log of its own, so that two writers would lose answers
    (https://sqlite.org/howtocorrupt.html, 2.5).
    """
    if path.is_file() and path.stat().st_nlink > 1:
        raise LikelierError(f"{path}: has a second name, a hard link; remove that, or work on a copy (`data backup`)")
    try:
        # The lock lives as long as the open file.
        file = open(lock_path(path), "a+", encoding="utf-8", opener=open_private)  # noqa: SIM115
    except OSError as error:
        raise cannot_write(lock_path(path), error, "; writing to the database needs it") from error
    start = time.monotonic()
    while not lock_descriptor(file.fileno(), blocking=False):
        holder = read_lock_holder(file)
        if time.monotonic() - start > (WAIT_FOR_SERVER_SECONDS if SERVING in holder else WAIT_SECONDS):
            file.close()
            if SERVING in holder:
                raise LikelierError(f"{path}: in use by process {holder}; stop it first")
            raise LikelierError(f"{path}: process {holder} is writing to it; try again when it is done")
        time.sleep(0.05)
    write_lock_holder(file)
    return file


def write_lock_holder(lock: TextIO, address: str = "") -> None:
    """Write this process's id and the address of the page that it serves into the lock file."""
    lock.truncate(0)
    lock.write(f"{os.getpid()}{SERVING}{address}" if address else str(os.getpid()))
    lock.flush()


def read_lock_holder(lock: TextIO) -> str:
    """Describe the process that holds the lock, by the id in the lock file."""
    with contextlib.suppress(OSError):  # Windows lets nobody else read what is locked
        lock.seek(0)
        return lock.read() or "unknown"
    return "unknown"


@contextlib.contextmanager
def convert_database_errors(name: str) -> Iterator[None]:
    """Convert database errors to one-line errors that name the database."""
    try:
        yield
    except IntegrityError as error:
        raise DataError(f"{name}: a record does not fit what is stored ({first_line(error)})") from error
    except DamagedRow as error:
        raise DataError(f"{name}: damaged: {error}; restore a backup") from error
    except UnicodeDecodeError as error:  # SQLite's own message about a damaged file
        raise DataError(f"{name}: damaged ({error.reason}); restore a backup") from error
    except DBAPIError as error:
        kind = DataError if any(sign in str(error.orig) for sign in SIGNS_OF_DAMAGE) else LikelierError
        raise kind(f"{name}: the database failed ({first_line(error)})") from error
    except sqlite3.Error as error:  # of a checkpoint, which goes past SQLAlchemy
        raise LikelierError(f"{name}: the database failed ({error})") from error


def first_line(error: DBAPIError) -> str:
    """Return the database's own message, without the SQL statement."""
    return str(error.orig).strip().partition("\n")[0]
