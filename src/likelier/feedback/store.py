"""What is kept of people's feedback: prompts, responses, comparisons, judgements; all queries of the project.

Judgements are only ever added, in the order of their number; each has a key, and adding a key again changes nothing.
Names of people stand in a table apart from their pseudonyms, so that a person can be erased and the judgements stay.
"""

import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from likelier.errors import DataError
from likelier.feedback.database import (
    annotators,
    comparisons,
    create_tables,
    database_url,
    find_file,
    first_line,
    judgements,
    lock_path,
    named_errors,
    people,
    postgresql_engine,
    prompts,
    responses,
    sqlite_engine,
    take_lock,
    what_is_wrong,
)
from likelier.files import dump_line, stable_id
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response

JUDGEMENT_FIELDS = tuple(column for column in judgements.c if column.name != "number")
ROWS_PER_QUERY = 500
"""Below the limit on parameters of every SQLite in use."""


class Store:
    """An open feedback database. Reads may run beside a write; writes wait for one another.

    >>> with Store.open("feedback.db", create=True) as store:
    ...     store.add_prompts([Prompt("Tell me a story.")])
    1
    """

    def __init__(self, name: str, reader: sa.Engine, writer: sa.Engine, path: Path | None) -> None:
        self.name, self.reader, self.writer, self.path = name, reader, writer, path
        self.made = False
        self.lock: TextIO | None = None
        self.lock_guard = threading.Lock()

    @classmethod
    def open(cls, db: str | Path, create: bool = False) -> Self:
        """Open a SQLite file or a PostgreSQL URL; `create` makes what is absent.

        DataError: absent, damaged, not Likelier's, or of another version. ConfigError: a URL that cannot be used.
        """
        url = database_url(db)
        path = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        if path:
            find_file(path, create)
            store = cls(str(path), sqlite_engine(path, "ro"), sqlite_engine(path, "rw"), path)
        else:
            engine = postgresql_engine(url)
            store = cls(url.render_as_string(hide_password=True), engine, engine, None)
        try:
            store.check_or_create(create)
        except BaseException:
            store.close()
            raise
        return store

    def check_or_create(self, create: bool) -> None:
        try:
            with self.reader.begin() as connection:
                trouble = what_is_wrong(connection)
        except DBAPIError as error:
            raise DataError(f"{self.name}: cannot be opened as a feedback database ({first_line(error)})") from error
        if trouble is None:
            return
        if trouble or not create:
            raise DataError(f"{self.name}: {trouble or 'an empty database; `likelier data import` fills it'}")
        self.hold_lock()
        with named_errors(self.name):
            create_tables(self.writer)
        self.made = True

    def close(self) -> None:
        """Close all connections. The writer goes last: it empties the write-ahead log into the file."""
        self.reader.dispose()
        self.writer.dispose()
        if self.lock:
            self.lock.close()
            self.lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close; a file that was made for something that failed goes again."""
        useless = kind is not None and self.made and not any(self.counts().values())
        self.close()
        if useless and self.path:
            for file in (f"{self.path}-wal", f"{self.path}-shm", self.path, lock_path(self.path)):
                Path(file).unlink(missing_ok=True)  # the log goes first: a later file of the same name must not find it

    def hold_lock(self) -> None:
        """Be the one process that writes to this SQLite file, from now until `close`.

        LikelierError: another process is writing to it.
        """
        with self.lock_guard:
            if self.path and not self.lock:
                self.lock = take_lock(self.path)

    @contextmanager
    def transaction(self) -> Iterator["Writer"]:
        """All that is added in the block is stored, or nothing of it; on disk when the block ends."""
        self.hold_lock()
        with named_errors(self.name), self.writer.begin() as connection:
            yield Writer(connection)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view of the database."""
        with named_errors(self.name), self.reader.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transactions are so by themselves
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def add_prompts(self, records: Iterable[Prompt]) -> int:
        """Store prompts; returns how many were new. So do the next three, each in one transaction."""
        with self.transaction() as writer:
            return writer.add_prompts(records)

    def add_responses(self, records: Iterable[Response]) -> int:
        with self.transaction() as writer:
            return writer.add_responses(records)

    def add_comparisons(self, records: Iterable[Comparison]) -> int:
        with self.transaction() as writer:
            return writer.add_comparisons(records)

    def add_judgements(self, records: Iterable[Judgement]) -> int:
        """An empty key is made from the content; equal judgements within one call are told apart by their count."""
        with self.transaction() as writer:
            return writer.add_judgements(records)

    def add_judgement(self, record: Judgement) -> Judgement:
        """Store one judgement and return what the database holds under its key: on a repeat, the first one."""
        with self.transaction() as writer:
            keyed = with_keys([record])[0]
            writer.add_judgements([keyed])
            return writer.stored_judgements([keyed.key])[keyed.key]

    def add_person(self, name: str) -> str:
        """The pseudonym under which a person judges: a new one for a new name."""
        with self.transaction() as writer:
            return writer.add_person(name)

    def erase_person(self, name: str) -> None:
        """Forget who stands behind a pseudonym; the judgements stay."""
        with self.transaction() as writer:
            writer.connection.execute(people.delete().where(people.c.name == name))

    def prompts(self) -> list[Prompt]:
        """All prompts, sorted by id; so are responses and comparisons."""
        with self.reading() as connection:
            return list(read_prompts(connection).values())

    def responses(self) -> list[Response]:
        with self.reading() as connection:
            return list(read_responses(connection).values())

    def comparisons(self) -> list[Comparison]:
        columns = (comparisons.c.prompt_id, comparisons.c.response_a, comparisons.c.response_b)
        with self.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(comparisons.c.id))
            return [Comparison(*row) for row in rows]

    def judgements(self) -> list[Judgement]:
        """All judgements in the order in which they came."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(*JUDGEMENT_FIELDS).order_by(judgements.c.number))
            return [read_judgement(row) for row in rows]

    def judged(self) -> list[JudgedComparison]:
        """All judgements with what was judged, in the order in which they came."""
        with self.reading() as connection:
            return list(read_judged(connection, (judgements.c.number,)))

    def judged_by_content(self) -> Iterator[JudgedComparison]:
        """The same one by one, in an order that depends on nothing but their content."""
        with self.reading() as connection:
            columns = (judgements.c.comparison_id, judgements.c.key)
            yield from read_judged(connection, [in_byte_order(column, connection) for column in columns])

    def counts(self) -> dict[str, int]:
        """How many prompts, responses, comparisons, judgements and known annotators there are."""
        count = sa.select(sa.func.count())
        known = count.select_from(annotators).where(annotators.c.id != "")
        with self.reading() as connection:
            found = {
                table.name: connection.execute(count.select_from(table)).scalar_one()
                for table in (prompts, responses, comparisons, judgements)
            }
            return found | {"annotators": connection.execute(known).scalar_one()}


class Writer:
    """What can be added within one transaction. Every method returns how many were new."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def insert(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
        if not rows:
            return 0
        dialect = sqlite if self.connection.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(table).on_conflict_do_nothing().inline()
        return self.connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount

    def add_prompts(self, records: Iterable[Prompt]) -> int:
        return self.insert(
            prompts,
            [
                {"id": p.id, "text": dump_line(p.text), "conversation": p.conversation, "extra": dump_line(p.extra)}
                for p in records
            ],
        )

    def add_responses(self, records: Iterable[Response]) -> int:
        return self.insert(responses, [field_row(record) for record in records])

    def add_comparisons(self, records: Iterable[Comparison]) -> int:
        return self.insert(comparisons, [field_row(record) for record in records])

    def add_judgements(self, records: Iterable[Judgement]) -> int:
        keyed = with_keys(records)
        self.insert(annotators, [{"id": name} for name in sorted({record.annotator for record in keyed})])
        return self.insert(judgements, [judgement_row(record) for record in keyed])

    def add_person(self, name: str) -> str:
        find = sa.select(people.c.annotator_id).where(people.c.name == name)
        found = self.connection.execute(find).scalar()
        if found is None:
            found = f"person-{secrets.token_hex(4)}"
            self.insert(annotators, [{"id": found}])
            self.insert(people, [{"annotator_id": found, "name": name}])
        return str(found)

    def stored_judgements(self, keys: Sequence[str]) -> dict[str, Judgement]:
        """Those of `keys` that the database holds already, with what it holds."""
        found = {}
        for start in range(0, len(keys), ROWS_PER_QUERY):
            wanted = judgements.c.key.in_(keys[start : start + ROWS_PER_QUERY])
            for row in self.connection.execute(sa.select(*JUDGEMENT_FIELDS).where(wanted)):
                found[row.key] = read_judgement(row)
        return found


def with_keys(records: Iterable[Judgement]) -> list[Judgement]:
    """The judgements with every empty key filled: a hash of the content and of how many equal ones came before."""
    seen: Counter[str] = Counter()
    return [record if record.key else replace(record, key=content_key(record, seen)) for record in records]


def content_key(record: Judgement, seen: Counter[str]) -> str:
    """A key that depends on nothing but the judgement and the number of equal ones in `seen`, which it counts on."""
    content = stable_id("judgement", vars(record))
    seen[content] += 1
    return content if seen[content] == 1 else stable_id(content, seen[content])


def field_row(record: Response | Comparison) -> dict[str, Any]:
    """A record whose columns are named like its fields."""
    return {"id": record.id} | {field.name: getattr(record, field.name) for field in fields(record)}


def judgement_row(record: Judgement) -> dict[str, Any]:
    return {
        "key": record.key,
        "comparison_id": record.comparison_id,
        "annotator_id": record.annotator,
        "left_id": record.left,
        "right_id": record.right,
        "choice": record.choice,
        "duration_seconds": record.duration_seconds,
        "created_at": record.created_at,
        "simulated": record.simulated,
        "guideline": record.guideline,
        "extra": dump_line(record.extra),
    }


def read_judgement(row: sa.Row[Any]) -> Judgement:
    return Judgement(
        key=row.key,
        comparison_id=row.comparison_id,
        annotator=row.annotator_id,
        left=row.left_id,
        right=row.right_id,
        choice=row.choice,
        duration_seconds=row.duration_seconds,
        created_at=row.created_at,
        simulated=row.simulated,
        guideline=row.guideline,
        extra=json.loads(row.extra),
    )


def read_prompts(connection: sa.Connection) -> dict[str, Prompt]:
    rows = connection.execute(sa.select(prompts).order_by(prompts.c.id))
    return {row.id: Prompt(json.loads(row.text), row.conversation, json.loads(row.extra)) for row in rows}


def read_responses(connection: sa.Connection) -> dict[str, Response]:
    rows = connection.execute(sa.select(responses).order_by(responses.c.id))
    return {row.id: Response(row.prompt_id, row.text, row.model, row.stop_reason) for row in rows}


def read_judged(connection: sa.Connection, order: Sequence[Any]) -> Iterator[JudgedComparison]:
    """Judgements one by one; the texts, which they share, are held in memory."""
    texts, answers = read_prompts(connection), read_responses(connection)
    query = sa.select(*JUDGEMENT_FIELDS).order_by(*order).execution_options(yield_per=1000)
    for row in connection.execute(query):
        left, right = answers[row.left_id], answers[row.right_id]
        yield JudgedComparison(read_judgement(row), texts[left.prompt_id], left, right)


def in_byte_order(column: sa.Column[str], connection: sa.Connection) -> sa.ColumnElement[str]:
    """PostgreSQL sorts text by the language of the database unless told otherwise."""
    return column if connection.dialect.name == "sqlite" else column.collate("C")
