"""A transaction that adds records to the feedback database."""

import secrets
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from likelier.feedback.media import MediaFolder
from likelier.feedback.questions import question_id
from likelier.feedback.rankings import ranking_row, to_ranking
from likelier.feedback.ratings import rating_row, to_rating
from likelier.feedback.rows import (
    comparison_row,
    judgement_row,
    parse_stored,
    prompt_row,
    response_row,
    to_judgement,
)
from likelier.feedback.tables import (
    DEFAULT_PROJECT,
    annotators,
    comparisons,
    judgements,
    media,
    people,
    project_comparisons,
    project_prompts,
    projects,
    prompts,
    rankings,
    ratings,
    responses,
    written,
)
from likelier.files import stable_id
from likelier.records import (
    Answer,
    Comparison,
    Judgement,
    Media,
    Picture,
    Prompt,
    Ranking,
    Rating,
    Response,
    list_pictures,
)
from likelier.records.messages import to_media

ROWS_PER_QUERY = 500
"""Below the limit on parameters of every SQLite in use."""


LATER_FIELDS = {
    Judgement: ("both_bad", "strength", "supersedes", "adjudicates"),
    Rating: ("duration_seconds", "guideline", "supersedes"),
    Ranking: (),
}
"""Fields that came after the first keys were made."""
A = TypeVar("A", Judgement, Rating, Ranking)
TABLES: dict[type[Answer], sa.Table] = {Judgement: judgements, Rating: ratings, Ranking: rankings}
TO_ROW: dict[type[Answer], Callable[[Any], dict[str, Any]]] = {
    Judgement: judgement_row,
    Rating: rating_row,
    Ranking: ranking_row,
}
TO_RECORD: dict[type[Answer], Callable[[sa.Row[Any]], Any]] = {
    Judgement: to_judgement,
    Rating: to_rating,
    Ranking: to_ranking,
}


class Writer:
    """Adds records to a project within one transaction. Methods that add records return how many were new to it."""

    def __init__(
        self,
        connection: sa.Connection,
        media_folder: MediaFolder,
        project: str = DEFAULT_PROJECT,
        known_annotators: Collection[str] = (),
    ) -> None:
        self.connection, self.media_folder, self.project = connection, media_folder, project
        self.new_media: list[Media] = []
        self.has_project = False
        self.known_annotators, self.new_annotators = known_annotators, set[str]()
        """Who needs not be stored, and who has been by this writer."""
        self.num_answers = 0
        """How many this writer has added."""
        self.last_number = 0
        """Number of the row that was inserted last, if it was alone; of SQLite."""

    def insert(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
        """Insert rows that do not exist yet; returns how many were new."""
        if not rows:
            return 0
        statement = insert_statement(table, self.connection.dialect.name)
        result = self.connection.execute(statement, rows, execution_options={"preserve_rowcount": True})
        self.last_number = result.lastrowid if len(rows) == 1 and self.connection.dialect.name == "sqlite" else 0
        return result.rowcount

    def add_project(self) -> None:
        """Store the project itself, unless it is there."""
        if not self.has_project:
            self.insert(projects, [{"name": self.project, "settings": "{}"}])
            self.has_project = True

    def add_to_project(self, membership: sa.Table, column: str, ids: Iterable[str]) -> int:
        """Note what belongs to the project; returns how much of it was new."""
        self.add_project()
        return self.insert(membership, [{"project": self.project, column: each} for each in ids])

    def name_key(self, record: A) -> A:
        """Return a record with the keys that it has in this project: one file can be imported into several."""
        if self.project == DEFAULT_PROJECT:
            return record
        key, supersedes = (
            f"{self.project}/{key}" if key and not key.startswith(f"{self.project}/") else key
            for key in (record.key, record.supersedes)
        )
        return replace(record, key=key or "", supersedes=supersedes)

    def add_prompts(self, records: Iterable[Prompt]) -> int:
        """Store prompts with their pictures; returns how many were new. DataError: a picture's file is not there."""
        records = list(records)
        for picture in (each for record in records for each in list_pictures(record.text)):
            self.add_picture(picture)
        rows = [prompt_row(record) for record in records]
        self.insert(prompts, rows)
        return self.add_to_project(project_prompts, "prompt_id", (row["id"] for row in rows))

    def add_picture(self, picture: Picture) -> None:
        """Copy a picture into the media folder, from where it is; without a path it must be there."""
        file = to_media(picture)
        if "path" in picture:
            self.add_media(file, Path(picture["path"]))
        self.media_folder.find(file)
        self.insert(media, [vars(file)])

    def add_media(self, record: Media, source: Path) -> None:
        """Copy a media file into the media folder, before the responses that refer to it are added.

        DataError: the file has changed. ConfigError: the database has no media folder.
        """
        if self.media_folder.add(record, source):
            self.new_media.append(record)

    def add_responses(self, records: Iterable[Response]) -> int:
        """Store responses; returns how many were new. DataError: a media file is not in the media folder."""
        records = list(records)
        files = {record.media.sha256: record.media for record in records if record.media}
        for file in files.values():
            self.media_folder.find(file)
        self.insert(media, [vars(file) for file in files.values()])
        return self.insert(responses, [response_row(record) for record in records])

    def add_comparisons(self, records: Iterable[Comparison]) -> int:
        """Store comparisons; returns how many were new."""
        rows = [comparison_row(record) for record in records]
        self.insert(comparisons, rows)
        return self.add_to_project(project_comparisons, "comparison_id", (row["id"] for row in rows))

    def add_judgements(self, records: Iterable[Judgement]) -> int:
        """Store judgements; returns how many were new."""
        return self.add_answers(Judgement, records)

    def add_ratings(self, records: Iterable[Rating]) -> int:
        """Store ratings; returns how many were new."""
        return self.add_answers(Rating, records)

    def add_rankings(self, records: Iterable[Ranking]) -> int:
        """Store rankings; returns how many were new."""
        return self.add_answers(Ranking, records)

    def add_answers(self, kind: type[A], records: Iterable[A]) -> int:
        """Store answers of one kind, with the keys that they lack; returns how many were new."""
        keyed = fill_keys(records, self)
        new = {record.annotator for record in keyed}.difference(self.known_annotators, self.new_annotators)
        self.insert(annotators, [{"id": name} for name in sorted(new)])
        self.new_annotators |= new
        num_new = self.insert(TABLES[kind], [TO_ROW[kind](record) | {"project": self.project} for record in keyed])
        self.num_answers += num_new
        return num_new

    def add_person(self, name: str) -> str:
        """Return a person's pseudonym, created on first use; `ann` and `Ann` are one person (`fold_name`)."""
        if same := self.find_people(name):
            return same.get(name) or next(iter(same.values()))
        pseudonym = f"person-{secrets.token_hex(4)}"
        self.insert(annotators, [{"id": pseudonym}])
        self.insert(people, [{"annotator_id": pseudonym, "name": name}])
        return pseudonym

    def find_people(self, name: str) -> dict[str, str]:
        """Return {name: pseudonym} of all people whose names are equal under `fold_name`."""
        rows = self.connection.execute(sa.select(people.c.name, people.c.annotator_id).order_by(people.c.annotator_id))
        return {row.name: row.annotator_id for row in rows if fold_name(row.name) == fold_name(name)}

    def add_written(self, prompt_ids: Iterable[str], annotator: str) -> None:
        """Note that a person typed prompts, which go with them when they are erased."""
        self.insert(written, [{"prompt_id": each, "annotator_id": annotator} for each in prompt_ids])

    def can_supersede(self, record: A) -> bool:
        """True if an answer supersedes the annotator's current one to the same question, or did so before."""
        table = TABLES[type(record)]
        earlier = self.stored_answers(type(record), [record.supersedes or ""]).get(record.supersedes or "")
        later = self.connection.execute(sa.select(table.c.key).where(table.c.supersedes == record.supersedes))
        is_own = earlier and earlier.annotator == record.annotator and question_id(earlier) == question_id(record)
        return bool(is_own) and later.scalar_one_or_none() in (None, record.key)

    def stored_answers(self, kind: type[A], keys: Sequence[str]) -> dict[str, A]:
        """Return the answers of one kind that are stored under these keys."""
        table, stored = TABLES[kind], {}
        for start in range(0, len(keys), ROWS_PER_QUERY):
            has_key = table.c.key.in_(keys[start : start + ROWS_PER_QUERY])
            for row in self.connection.execute(sa.select(table).where(has_key)):
                stored[row.key] = TO_RECORD[kind](row)
        return stored

    def stored_extras(self, prompt_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the `extra` columns of those prompts that are stored."""
        stored = {}
        for start in range(0, len(prompt_ids), ROWS_PER_QUERY):
            has_id = prompts.c.id.in_(prompt_ids[start : start + ROWS_PER_QUERY])
            for row in self.connection.execute(sa.select(prompts.c.id, prompts.c.extra).where(has_id)):
                stored[row.id] = parse_stored(row.extra, f"prompt {row.id!r}", dict)
        return stored

    def remove_new_media(self) -> None:
        """Undo `add_media` after a failed transaction."""
        for record in self.new_media:
            self.media_folder.remove(record)


@cache
def insert_statement(table: sa.Table, dialect: str) -> sa.Insert:
    """Return the statement that inserts rows that do not exist yet."""
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing().inline()
    from sqlalchemy.dialects import postgresql  # with all its drivers: a tenth of the start over SQLite

    return postgresql.insert(table).on_conflict_do_nothing().inline()


def fold_name(name: str) -> str:
    """Normalise a name for comparison: Unicode form, case and width of spaces."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", " ".join(name.split())).casefold())


def fill_keys(records: Iterable[A], writer: Writer) -> list[A]:
    """Return answers with every empty key filled by `content_key`, as it is in the project."""
    counts: Counter[str] = Counter()
    return [
        record if record.key else writer.name_key(replace(record, key=content_key(record, counts)))
        for record in records
    ]


def content_key(record: Answer, counts: Counter[str]) -> str:
    """Make a key from the content of an answer and the number of equal ones before it.

    `counts` counts them by content and is updated.
    """
    # What older versions did not know is left out where it says nothing, so that their keys stay.
    said = {name: value for name, value in vars(record).items() if name not in LATER_FIELDS[type(record)] or value}
    content = stable_id(type(record).__name__.lower(), said)
    counts[content] += 1
    return content if counts[content] == 1 else stable_id(content, counts[content])
