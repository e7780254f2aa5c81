"""People's feedback in a database: prompts, responses, comparisons, judgements, ratings, rankings.

Judgements are append-only and numbered; each has a key, and adding an existing key changes nothing. People's names are
kept apart from their pseudonyms, so that a person can be erased while the judgements stay.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Generic, NamedTuple, Self

import sqlalchemy as sa

from likelier.errors import LikelierError
from likelier.feedback.erase import Erased, erase_person
from likelier.feedback.group_commit import GroupCommit, Refused
from likelier.feedback.inclusion import weigh_draws
from likelier.feedback.media import MediaFolder
from likelier.feedback.open_database import Database
from likelier.feedback.projects import choose_project, list_projects, read_gold
from likelier.feedback.questions import Shown
from likelier.feedback.rankings import read_ranked
from likelier.feedback.ratings import count_ratings, find_newest_rating, read_rated
from likelier.feedback.rows import (
    count_records,
    in_byte_order,
    read_judged,
    read_media,
    read_names,
    read_prompts,
    read_responses,
    select_comparisons,
    select_judgements,
    to_judgement,
)
from likelier.feedback.screens import Screen, add_skip, keep_screens
from likelier.feedback.shown import count_stored, read_shown
from likelier.feedback.tables import judgements
from likelier.feedback.writer import A, Writer, fill_keys
from likelier.records import (
    Answer,
    Comparison,
    JudgedComparison,
    Judgement,
    Media,
    Prompt,
    RankedResponses,
    RatedResponse,
    Response,
)


class Superseded(LikelierError):
    """An answer that another one supersedes already, or that is not there, cannot be superseded."""


class Stored(NamedTuple, Generic[A]):
    """An answer as it is stored."""

    answer: A
    number: int = 0
    """Of its row; 0 if it was there before, and in PostgreSQL."""
    num_added: int = 0
    """How many answers this process had then added to the project, this one included."""


class Store:
    """A project of an open feedback database: what is read is of this project, what is added belongs to it.

    >>> with Store.open("feedback.db", create=True) as store:
    ...     store.add_prompts([Prompt("Tell me a story.")])
    1
    """

    num_ratings_dropped = 0
    """`judged` reads no ratings; `AllAnswers` does."""

    def __init__(self, database: Database, project: str) -> None:
        self.database, self.project = database, project
        self.commits = GroupCommit(self.transaction)

    @classmethod
    def open(cls, db: str | Path, create: bool = False, project: str | None = None, any_project: bool = False) -> Self:
        """Open a project of a SQLite file or a PostgreSQL URL; the only one needs no name.

        With `create`, an absent database or project is created. With `any_project`, no name means the first of several.
        DataError: absent, damaged, not Likelier's, of an unknown version, or without this project. ConfigError: a URL
        that cannot be used, or several projects and no name.
        """
        database = Database.open(db, create)
        try:
            names = list_projects(database)
            return cls(database, choose_project(names, project, database.name, create, any_project))
        except BaseException:
            database.close()
            database.remove_if_created()
            raise

    def in_project(self, project: str) -> "Store":
        """Return another project of the same open database."""
        return Store(self.database, project)

    @property
    def name(self) -> str:
        """Path or address for messages, without secrets."""
        return self.database.name

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return self.database.path

    @property
    def media_folder(self) -> MediaFolder:
        """The files of media responses."""
        return self.database.media_folder

    def close(self) -> None:
        """Close the database, for all its projects."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; if the block failed, a file created by it is removed."""
        useless = kind is not None and self.database.is_useless()
        self.close()
        if useless:
            self.database.remove_if_created()

    def prepare_to_write(self) -> None:
        """Lock a SQLite file for this process until `close`, and migrate the tables to the newest version.

        LikelierError: another process is writing to it, or the backup before a migration cannot be written.
        """
        self.database.prepare_to_write()

    def show_address(self, address: str) -> None:
        """Publish the address at which this process serves the database to other writers; needs the lock."""
        self.database.show_address(address)

    def transaction(self) -> AbstractContextManager[Writer]:
        """Store all records added in the block, or none; they are on disk when the block ends.

        LikelierError: the file was moved, replaced or changed by another program.
        """
        return self.database.transaction(self.project)

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Open a consistent view of the database, all projects. LikelierError: its file was moved or replaced."""
        return self.database.reading()

    @contextmanager
    def snapshot(self) -> Iterator["Store"]:
        """Open what the database holds now, for long reads: of a SQLite file that this process writes, a copy.

        While somebody reads the file itself, no answer gets from the log into it, and so none is acknowledged.
        """
        if self.path is None:
            yield self
            return
        with tempfile.TemporaryDirectory() as folder:
            self.database.copy_file(Path(folder) / "copy.db")
            with Store.open(Path(folder) / "copy.db", project=self.project) as copy:
                copy.database.media_folder = self.media_folder
                yield copy

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
        """Store one judgement, as `add_answer` does."""
        return self.add_answer(record)

    def add_answer(self, record: A) -> A:
        """Store one judgement, rating or ranking; returns the one stored under its key, as `store_answer` does."""
        return self.store_answer(record).answer

    def store_answer(self, record: A, changed: Iterable[Screen] = ()) -> Stored[A]:
        """Store one judgement, rating or ranking; returns the one stored under its key, on a repeat the first.

        `changed` is what has come onto people's screens, stored on the way: it is worth no flush of its own.

        On return it is in the database file, not only in the write-ahead log. LikelierError: a reader blocks that for
        too long. Superseded: what it supersedes is not there, another's, or superseded already.
        """

        def write(writer: Writer) -> Stored[A]:
            keyed = writer.name_key(fill_keys([record], writer)[0])
            if keyed.supersedes and not writer.can_supersede(keyed):
                raise Refused(Superseded("this answer was changed already, or is not yours"))
            is_new = writer.add_answers(type(keyed), [keyed])
            number, num_added = writer.last_number, self.database.num_answers[self.project] + writer.num_answers
            keep_screens(writer, changed)
            if is_new:
                return Stored(keyed, number, num_added)
            return Stored(writer.stored_answers(type(keyed), [keyed.key])[keyed.key])

        stored = self.commits.run(write)
        if not self.database.is_in_file:
            raise LikelierError(f"{self.name}: another process keeps reading it; answer again when it is done")
        return stored

    def add_skip(self, annotator: str, question_id: str) -> None:
        """Store that a person skipped a question."""
        self.commits.run(lambda writer: add_skip(writer, annotator, question_id))

    def add_person(self, name: str) -> str:
        """Return a person's pseudonym, a new one for a new name."""
        with self.transaction() as writer:
            return writer.add_person(name)

    def erase_person(self, name: str) -> Erased:
        """Erase a person's name and account, and what they typed; see `erase.erase_person`."""
        try:
            with self.transaction() as writer:
                return erase_person(writer, name)
        finally:
            self.database.account_changes += 1

    def prompts(self) -> list[Prompt]:
        """Return all prompts, sorted by id."""
        with self.reading() as connection:
            return list(read_prompts(connection, self.project).values())

    def responses(self) -> list[Response]:
        """Return all responses, sorted by id."""
        with self.reading() as connection:
            return list(read_responses(connection, self.project).values())

    def comparisons(self) -> list[Comparison]:
        """Return all comparisons, sorted by id."""
        with self.reading() as connection:
            return [Comparison(*row) for row in connection.execute(select_comparisons(connection, self.project))]

    def has_comparisons(self) -> bool:
        """True if there is any comparison."""
        with self.reading() as connection:
            return connection.execute(select_comparisons(connection, self.project).limit(1)).first() is not None

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in chronological order: none that is superseded, none for training."""
        with self.reading() as connection:
            rows = connection.execute(select_judgements(connection, self.project).order_by(judgements.c.number))
            return [to_judgement(row) for row in rows]

    def newest_judgements(self, count: int) -> list[Judgement]:
        """Return the last `count` judgements that count, the newest first."""
        with self.reading() as connection:
            query = select_judgements(connection, self.project).order_by(judgements.c.number.desc()).limit(count)
            return [to_judgement(row) for row in connection.execute(query)]

    def judgements_of(self, comparison_ids: Sequence[str]) -> list[Judgement]:
        """Return the judgements of some comparisons that count, in chronological order."""
        with self.reading() as connection:
            query = select_judgements(connection, self.project).order_by(judgements.c.number)
            query = query.where(judgements.c.comparison_id.in_(comparison_ids))
            return [to_judgement(row) for row in connection.execute(query)]

    def shown_after(self, number: int, kind: type[Answer] = Judgement) -> list[Shown]:
        """Return what the answers of one kind numbered above `number` are about, in this order.

        Of a database that this process writes, which is of the newest version.
        """
        with self.reading() as connection:
            return read_shown(connection, self.project, kind, number)

    def count_stored(self, kind: type[Answer] = Judgement) -> int:
        """Count the answers of one kind, those that a later one supersedes among them."""
        with self.reading() as connection:
            return count_stored(connection, self.project, kind)

    def judged(self) -> list[JudgedComparison]:
        """Return the judgements that count with prompts and responses, in chronological order.

        Each with the weight that makes up for the strategy that chose its comparison.
        """
        with self.reading() as connection:
            judged = list(read_judged(connection, self.project, (judgements.c.number,)))
        weights = weigh_draws([entry.judgement for entry in judged])
        if weights is None:
            return judged
        return [replace(entry, asked_weight=weight) for entry, weight in zip(judged, weights.tolist(), strict=True)]

    def gold_answers(self) -> dict[str, str | None]:
        """Return the better response of each gold item by comparison, None for a tie."""
        with self.reading() as connection:
            items = read_gold(connection, self.project).values()
            return {item.comparison_id: item.better for item in items if item.kind == "gold"}

    def judged_by_content(self, everything: bool = False) -> Iterator[JudgedComparison]:
        """Yield judgements with prompts and responses, in an order determined by their content.

        With `everything` also those that count nowhere: superseded by a later one, or of training items.
        """
        with self.reading() as connection:
            columns = (judgements.c.comparison_id, judgements.c.key)
            order = [in_byte_order(column, connection) for column in columns]
            yield from read_judged(connection, self.project, order, everything)

    def rated_by_content(self, everything: bool = False, until: int | None = None) -> Iterator[RatedResponse]:
        """Yield ratings with prompts and responses in such an order, with `everything` also those superseded; with
        `until` those that counted when `find_newest_rating` was this."""
        with self.reading() as connection:
            yield from read_rated(connection, self.project, everything, until)

    def find_newest_rating(self) -> int:
        """Return the number of the newest rating; 0 without any. Of a database of the newest version."""
        with self.reading() as connection:
            return find_newest_rating(connection, self.project)

    def ranked_by_content(self, everything: bool = False) -> Iterator[RankedResponses]:
        """Yield rankings with prompts and responses in such an order, with `everything` also those superseded."""
        with self.reading() as connection:
            yield from read_ranked(connection, self.project, everything)

    def media(self) -> list[Media]:
        """Return all media files of responses, sorted by hash."""
        with self.reading() as connection:
            return read_media(connection, self.project)

    def names(self) -> dict[str, str]:
        """Return people's names by their pseudonyms, for those who hold the database: `check`'s terminal, the owner.

        Exports, preferences, check.json of a circle and reports are sent to others; they have pseudonyms alone.
        """
        with self.reading() as connection:
            return read_names(connection)

    def counts(self) -> dict[str, int]:
        """Count prompts, responses, comparisons, judgements that count, and the people who gave them."""
        with self.reading() as connection:
            return count_records(connection, self.project)

    def count_ratings(self) -> int:
        """Count the ratings of single responses that count."""
        with self.reading() as connection:
            return count_ratings(connection, self.project)
