"""An open feedback database: its connections, the lock of its writer, and transactions."""

import contextlib
import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from likelier.addresses import hide_secrets
from likelier.errors import DataError, LikelierError
from likelier.feedback.database import (
    MEDIA_FOLDER,
    SCHEMA,
    acquire_lock,
    check_schema,
    checkpoint_wal,
    convert_database_errors,
    copy_sqlite,
    database_url,
    file_identity,
    file_state,
    first_line,
    lock_path,
    postgresql_engine,
    prepare_file,
    read_version,
    sqlite_engine,
    write_lock_holder,
)
from likelier.feedback.media import MediaFolder
from likelier.feedback.tables import annotators, projects, prompts
from likelier.feedback.writer import Writer
from likelier.files import PRIVATE
from likelier.progress import print_note


class Database:
    """An open SQLite file or PostgreSQL database. Reads may run during a write; writes are serialised.

    `media_folder` holds the files of media responses. Databases of older versions can be read; the first write migrates
    them.
    """

    def __init__(
        self, name: str, reader: sa.Engine, writer: sa.Engine, path: Path | None, media_folder: Path | None
    ) -> None:
        self.name, self.reader, self.writer, self.path = name, reader, writer, path
        self.media_folder = MediaFolder(media_folder, name)
        self.created = self.is_current = False
        self.lock: TextIO | None = None
        self.lock_guard = threading.Lock()
        self.identity = file_identity(path) if path else None
        self.last_written: tuple[int, int] | None = None
        """Size and time of the SQLite file after our last write; None before the first."""
        self.is_in_file = True
        """False while committed records stand in the write-ahead log alone."""
        self.account_changes = 0
        """Transactions of this process that may have changed what a session opens."""
        self.num_answers: Counter[str] = Counter()
        """How many answers this process has added to each project."""
        self.known_annotators: set[str] = set()
        """Some of those who are stored; nobody is ever removed."""
        self.has_failed = False
        """True once a write ended in an I/O error of the disk."""

    @classmethod
    def open(cls, db: str | Path, create: bool = False) -> Self:
        """Open a SQLite file or a PostgreSQL URL; with `create`, an absent database is created.

        Media files are in `<file>.media` next to a SQLite file; for PostgreSQL in `media_folder` of the URL's query.
        DataError: absent, damaged, not Likelier's, or of an unknown version. ConfigError: a URL that cannot be used.
        """
        url = database_url(db)
        if url.get_backend_name() == "sqlite":
            path = Path(url.database or "")
            prepare_file(path, create)
            media = path.with_name(f"{path.name}.media")
            database = cls(str(path), sqlite_engine(path, "ro"), sqlite_engine(path, "rw"), path, media)
        else:
            folder = url.query.get(MEDIA_FOLDER)
            url = url.difference_update_query([MEDIA_FOLDER])
            engine = postgresql_engine(url)
            name = hide_secrets(url.render_as_string(hide_password=True))
            database = cls(name, engine, engine, None, Path(str(folder)) if folder else None)
        try:
            database.check_or_create(create)
        except BaseException:
            database.close()
            raise
        return database

    def check_or_create(self, create: bool) -> None:
        """Check the schema, or create it. DataError: it is unknown, or absent and not `create`."""
        try:
            with self.reader.begin() as connection:
                fault = check_schema(connection)
                version = None if fault else read_version(connection)
        except DBAPIError as error:
            raise DataError(f"{self.name}: cannot be opened as a feedback database ({first_line(error)})") from error
        if fault:
            raise DataError(f"{self.name}: {fault}")
        if version is None and not create:
            raise DataError(f"{self.name}: an empty database; `likelier data import` fills it")
        self.is_current = version == SCHEMA
        if version is None:
            self.prepare_to_write()
            self.created = True

    def close(self) -> None:
        """Close all connections, the writer last, which checkpoints the write-ahead log."""
        if self.is_in_place():
            self.reader.dispose()
            self.writer.dispose()
            if not self.is_in_file:
                print_note(f"{self.name}: another process reads it; until it ends, copy {self.name}-wal with it")
        else:  # the log of this name belongs to another file by now: the last connection to close would remove it
            self.close_without_checkpoint()
        if self.lock:
            self.lock.close()
            self.lock = self.last_written = None

    def close_without_checkpoint(self) -> None:
        """Close all connections without checkpointing the write-ahead log: a read-only one is closed last."""
        with contextlib.suppress(DBAPIError), self.reader.connect():
            self.writer.dispose()
        self.writer.dispose()
        self.reader.dispose()

    def is_in_place(self) -> bool:
        """True if the open SQLite file is still at its path; always for PostgreSQL."""
        return self.path is None or file_identity(self.path) == self.identity

    def check_in_place(self) -> None:
        """LikelierError: the file was moved, removed or replaced since it was opened."""
        if not self.is_in_place():
            raise LikelierError(
                f"{self.name}: moved or replaced since it was opened, so nothing is stored; put it back, or start again"
            )

    def check_unchanged(self) -> None:
        """LikelierError: another program wrote to the file despite our lock, as `cp OTHER FILE` does."""
        if self.path and self.last_written not in (None, file_state(self.path)):
            raise LikelierError(f"{self.name}: changed by another program, so nothing is stored; start again")

    def is_useless(self) -> bool:
        """True if this process created the file and nothing was added."""
        if not (self.created and self.is_in_place()):
            return False
        with self.reading() as connection:
            tables = (prompts, annotators, projects)
            return not any(connection.execute(sa.select(table).limit(1)).first() for table in tables)

    def remove_if_created(self) -> None:
        """Remove the SQLite file that this process created, without its content; the database is closed."""
        if self.created and self.path and self.is_in_place():
            for file in (f"{self.path}-wal", f"{self.path}-shm", self.path, lock_path(self.path)):
                Path(file).unlink(missing_ok=True)  # the log goes first: a later file of the same name must not find it

    def prepare_to_write(self) -> None:
        """Lock a SQLite file for this process until `close`, and migrate the tables to the newest version.

        LikelierError: another process is writing to it, or the backup before a migration cannot be written.
        """
        with self.lock_guard:
            if self.path and not self.lock:
                self.lock = acquire_lock(self.path)
            if not self.is_current:
                with convert_database_errors(self.name):
                    self.migrate()
                self.is_current = True
            if self.path and self.last_written is None:
                with (
                    convert_database_errors(self.name),
                    self.writer.connect(),
                ):  # the first connection may change the file
                    self.last_written = file_state(self.path)

    def show_address(self, address: str) -> None:
        """Publish the address at which this process serves the database to other writers; needs the lock."""
        if self.lock:
            write_lock_holder(self.lock, address)

    def migrate(self) -> None:
        """Create the tables, or migrate those of an older version after a backup of the file."""
        from likelier.feedback.migrations.upgrade import back_up, upgrade

        with self.reader.begin() as connection:
            version = read_version(connection)  # again: another process may have migrated it before we had the lock
        outdated = version is not None and version != SCHEMA
        backup = back_up(self.path, version) if outdated and version and self.path else None
        upgrade(self.writer)
        if outdated:
            backup_note = (
                f"{backup} is the file as it was"
                if backup
                else "in one transaction, without a copy (pg_dump makes one)"
            )
            print_note(f"{self.name}: migrated from version {version} to {SCHEMA}; {backup_note}")

    @contextmanager
    def transaction(self, project: str) -> Iterator[Writer]:
        """Store all records added to a project in the block, or none; they are on disk when the block ends.

        LikelierError: the file was moved, replaced or changed by another program.
        """
        self.prepare_to_write()
        self.check_in_place()
        self.check_disk()
        with convert_database_errors(self.name), self.note_disk_failure(), self.writer.connect() as connection:
            writer = None
            try:
                with connection.begin():
                    self.check_unchanged()
                    writer = Writer(connection, self.media_folder, project, self.known_annotators)
                    yield writer
            except BaseException:
                if writer and self.path:  # other processes may already share a file of a PostgreSQL database
                    writer.remove_new_media()
                raise
            self.num_answers[project] += writer.num_answers
            self.known_annotators |= writer.new_annotators
            if self.path:  # while we still have the only connection that writes
                try:
                    self.is_in_file = checkpoint_wal(connection)
                finally:  # one that fails, as on a full disk, may have written a part
                    self.check_in_place()
                    self.last_written = file_state(self.path)

    def copy_file(self, target: Path) -> None:
        """Copy a SQLite file as it is now; writers wait meanwhile.

        That takes a second a gigabyte. A reader of the file itself would keep what is written in the log for as long as
        it reads.
        """
        assert self.path is not None
        with convert_database_errors(self.name), self.writer.connect() as connection:
            is_in_file = checkpoint_wal(connection)
            self.last_written = file_state(self.path)
            if is_in_file:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY, PRIVATE))
                shutil.copyfile(self.path, target)
            else:
                copy_sqlite(self.path, target)

    @contextmanager
    def note_disk_failure(self) -> Iterator[None]:
        """Remember that a write failed with an I/O error.

        Linux marks pages as clean that it could not write, so that a later fsync succeeds without them (Rebello et al.,
        USENIX ATC 2020): only what is read again after a restart is known to be there.
        """
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            self.has_failed = self.has_failed or (self.path is not None and "disk I/O error" in str(error))
            raise

    def check_disk(self) -> None:
        """LikelierError: the disk failed, so that nothing more is stored until a restart."""
        if self.has_failed:
            raise LikelierError(f"{self.name}: the disk has failed; nothing more is stored; check it, and start again")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a consistent view of the database. LikelierError: its file was moved or replaced."""
        self.check_in_place()
        with convert_database_errors(self.name), self.reader.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transactions are so by themselves
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection
