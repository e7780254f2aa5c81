"""People's feedback in a database: prompts, responses, comparisons, judgements.

Judgements are append-only and numbered; each has a key, and adding an existing key changes nothing. People's names are
kept apart from their pseudonyms, so that a person can be erased while the judgements stay.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
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
from likelier.feedback.pairing import Shown
from likelier.feedback.rows import (
    has_superseded,
    in_byte_order,
    read_judged,
    read_media,
    read_prompts,
    read_rated,
    read_responses,
    select_judgements,
    to_judgement,
)
from likelier.feedback.tables import annotators, comparisons, judgements, prompts, responses
from likelier.feedback.writer import Writer, fill_keys
from likelier.progress import print_note
from likelier.records import Comparison, JudgedComparison, Judgement, Media, Prompt, RatedResponse, Response


class Superseded(LikelierError):
    """A judgement that another one supersedes already, or that is not there, cannot be superseded."""


class Store:
    """An open feedback database. Reads may run during a write; writes are serialised.

    `media_folder` holds the files of media responses. Databases of older versions can be read; the first write migrates
    them.

    >>> with Store.open("feedback.db", create=True) as store:
    ...     store.add_prompts([Prompt("Tell me a story.")])
    1
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
            store = cls(str(path), sqlite_engine(path, "ro"), sqlite_engine(path, "rw"), path, media)
        else:
            folder = url.query.get(MEDIA_FOLDER)
            url = url.difference_update_query([MEDIA_FOLDER])
            engine = postgresql_engine(url)
            name = hide_secrets(url.render_as_string(hide_password=True))
            store = cls(name, engine, engine, None, Path(str(folder)) if folder else None)
        try:
            store.check_or_create(create)
        except BaseException:
            store.close()
            raise
        return store

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; if the block failed, a file created by it is removed."""
        useless = kind is not None and self.created and self.is_in_place() and not any(self.counts().values())
        self.close()
        if useless and self.path:
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
    def transaction(self) -> Iterator[Writer]:
        """Store all records added in the block, or none; they are on disk when the block ends.

        LikelierError: the file was moved, replaced or changed by another program.
        """
        self.prepare_to_write()
        self.check_in_place()
        with convert_database_errors(self.name), self.writer.connect() as connection:
            writer = None
            try:
                with connection.begin():
                    self.check_unchanged()
                    writer = Writer(connection, self.media_folder)
                    yield writer
            except BaseException:
                if writer and self.path:  # other processes may already share a file of a PostgreSQL database
                    writer.remove_new_media()
                raise
            if self.path:  # while we still have the only connection that writes
                self.is_in_file = checkpoint_wal(connection)
                self.check_in_place()
                self.last_written = file_state(self.path)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a consistent view of the database. LikelierError: its file was moved or replaced."""
        self.check_in_place()
        with convert_database_errors(self.name), self.reader.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transactions are so by themselves
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def add_prompts(self, records: Iterable[Prompt]) -> int:
        """Store prompts in one transaction; returns how many were new."""
        with self.transaction() as writer:
            return writer.add_prompts(records)

    def add_responses(self, records: Iterable[Response]) -> int:
        """Store responses in one transaction; returns how many were new."""
        with self.transaction() as writer:
            return writer.add_responses(records)

    def add_comparisons(self, records: Iterable[Comparison]) -> int:
        """Store comparisons in one transaction; returns how many were new."""
        with self.transaction() as writer:
            return writer.add_comparisons(records)

    def add_judgements(self, records: Iterable[Judgement]) -> int:
        """Store judgements; empty keys are made from the content, equal judgements within one call are numbered."""
        with self.transaction() as writer:
            return writer.add_judgements(records)

    def add_judgement(self, record: Judgement) -> Judgement:
        """Store one judgement; returns the one stored under its key, on a repeat the first.

        On return it is in the database file, not only in the write-ahead log. LikelierError: a reader blocks that for
        too long. Superseded: what it supersedes is not there, another's, or superseded already.
        """
        with self.transaction() as writer:
            keyed = fill_keys([record])[0]
            if keyed.supersedes and not writer.can_supersede(keyed):
                raise Superseded("this answer was changed already, or is not yours")
            writer.add_judgements([keyed])
            stored = writer.stored_judgements([keyed.key])[keyed.key]
        if not self.is_in_file:
            raise LikelierError(f"{self.name}: another process keeps reading it; answer again when it is done")
        return stored

    def add_person(self, name: str) -> str:
        """Return a person's pseudonym, a new one for a new name."""
        with self.transaction() as writer:
            return writer.add_person(name)

    def erase_person(self, name: str) -> list[str]:
        """Delete the name behind a pseudonym, and the account; returns the pseudonyms, whose judgements stay."""
        with self.transaction() as writer:
            return writer.erase_person(name)

    def prompts(self) -> list[Prompt]:
        """Return all prompts, sorted by id."""
        with self.reading() as connection:
            return list(read_prompts(connection).values())

    def responses(self) -> list[Response]:
        """Return all responses, sorted by id."""
        with self.reading() as connection:
            return list(read_responses(connection).values())

    def comparisons(self) -> list[Comparison]:
        """Return all comparisons, sorted by id."""
        columns = (comparisons.c.prompt_id, comparisons.c.response_a, comparisons.c.response_b)
        with self.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(comparisons.c.id))
            return [Comparison(*row) for row in rows]

    def judgements(self) -> list[Judgement]:
        """Return the judgements that no later one supersedes, in chronological order."""
        with self.reading() as connection:
            rows = connection.execute(select_judgements(connection).order_by(judgements.c.number))
            return [to_judgement(row) for row in rows]

    def newest_judgements(self, count: int) -> list[Judgement]:
        """Return the last `count` judgements that none supersedes, the newest first."""
        with self.reading() as connection:
            query = select_judgements(connection).order_by(judgements.c.number.desc()).limit(count)
            return [to_judgement(row) for row in connection.execute(query)]

    def shown_after(self, number: int) -> tuple[list[Shown], int]:
        """Return comparison, annotator and sides of judgements numbered above `number`, and the count of all."""
        names = (judgements.c.number, judgements.c.comparison_id, judgements.c.annotator_id)
        with self.reading() as connection:
            supersedes = judgements.c.supersedes.is_not(None) if has_superseded(connection) else sa.false()
            query = sa.select(*names, judgements.c.left_id, judgements.c.right_id, supersedes.label("supersedes"))
            rows = connection.execute(query.where(judgements.c.number > number).order_by(judgements.c.number))
            new = [Shown(*row) for row in rows]
            return new, connection.execute(sa.select(sa.func.count()).select_from(judgements)).scalar_one()

    def judged(self) -> list[JudgedComparison]:
        """Return the judgements that no later one supersedes with prompts and responses, in chronological order."""
        with self.reading() as connection:
            return list(read_judged(connection, (judgements.c.number,)))

    def judged_by_content(self, with_superseded: bool = False) -> Iterator[JudgedComparison]:
        """Yield judgements with prompts and responses, in an order determined by their content."""
        with self.reading() as connection:
            columns = (judgements.c.comparison_id, judgements.c.key)
            order = [in_byte_order(column, connection) for column in columns]
            yield from read_judged(connection, order, with_superseded)

    def rated_by_content(self) -> Iterator[RatedResponse]:
        """Yield all ratings with prompts and responses, in an order determined by their content."""
        with self.reading() as connection:
            yield from read_rated(connection)

    def media(self) -> list[Media]:
        """Return all media files of responses, sorted by hash."""
        with self.reading() as connection:
            return read_media(connection)

    def counts(self) -> dict[str, int]:
        """Count prompts, responses, comparisons, judgements that none supersedes, and known annotators."""
        count = sa.select(sa.func.count())
        num_annotators = count.select_from(annotators).where(annotators.c.id != "")
        with self.reading() as connection:
            counts = {
                table.name: connection.execute(count.select_from(table)).scalar_one()
                for table in (prompts, responses, comparisons, judgements)
            }
            if has_superseded(connection):
                later = judgements.alias()
                superseded = count.select_from(judgements).join(later, later.c.supersedes == judgements.c.key)
                counts["judgements"] -= connection.execute(superseded).scalar_one()
            return counts | {"annotators": connection.execute(num_annotators).scalar_one()}
