"""Conversion between records and rows of the feedback database."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import sqlalchemy as sa

from likelier.feedback.database import DamagedRow, read_version
from likelier.feedback.questions import TRAINING
from likelier.feedback.tables import (
    comparisons,
    judgements,
    media,
    people,
    project_comparisons,
    project_prompts,
    prompts,
    responses,
)
from likelier.files import dump_line
from likelier.files.json_text import truncate
from likelier.records import (
    Choice,
    Comparison,
    JudgedComparison,
    Judgement,
    Media,
    Prompt,
    Response,
    drop_paths,
    list_pictures,
)
from likelier.records.messages import to_media

JUDGEMENT_COLUMNS = tuple(column for column in judgements.c if column.name not in ("number", "project"))
BEFORE_0005: Sequence[sa.ColumnElement[Any]] = (
    *(column for column in JUDGEMENT_COLUMNS if column.name != "adjudicates"),
    sa.false().label("adjudicates"),
)
BEFORE_0003: Sequence[sa.ColumnElement[Any]] = (
    *(column for column in BEFORE_0005 if column.name not in ("both_bad", "strength", "supersedes")),
    sa.false().label("both_bad"),
    sa.null().label("strength"),
    sa.null().label("supersedes"),
)
ROWS_PER_FETCH = 1000


def prompt_row(record: Prompt) -> dict[str, Any]:
    """Convert a prompt to a row."""
    return {
        "id": record.id,
        "text": dump_line(drop_paths(record.text)),
        "conversation": record.conversation,
        "extra": dump_line(record.extra),
    }


def response_row(record: Response) -> dict[str, Any]:
    """Convert a response to a row."""
    return {
        "id": record.id,
        "prompt_id": record.prompt_id,
        "text": record.text,
        "model": record.model,
        "stop_reason": record.stop_reason,
        "media_sha256": record.media.sha256 if record.media else None,
    }


def comparison_row(record: Comparison) -> dict[str, Any]:
    """Convert a comparison to a row."""
    return {
        "id": record.id,
        "prompt_id": record.prompt_id,
        "response_a": record.response_a,
        "response_b": record.response_b,
    }


def judgement_row(record: Judgement) -> dict[str, Any]:
    """Convert a judgement to a row."""
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
        "both_bad": record.both_bad,
        "strength": record.strength,
        "supersedes": record.supersedes,
        "adjudicates": record.adjudicates,
    }


def select_judgements(connection: sa.Connection, project: str, everything: bool = False) -> sa.Select[Any]:
    """Select a project's judgements; only with `everything` those that are superseded, or answer training items."""
    if not has_superseded(connection):
        return sa.select(*BEFORE_0003)
    if not has_projects(connection):
        query = sa.select(*BEFORE_0005)
    else:
        query = sa.select(*JUDGEMENT_COLUMNS).where(judgements.c.project == project)
    return query if everything else query.where(is_current())


def has_superseded(connection: sa.Connection) -> bool:
    """True if judgements of the database can supersede others: since version 0003."""
    return read_version(connection) not in ("0001", "0002")


def has_projects(connection: sa.Connection) -> bool:
    """True if the database can have several projects: since version 0005."""
    return read_version(connection) not in ("0001", "0002", "0003", "0004")


def of_project(connection: sa.Connection, table: sa.Table, project: str) -> sa.ColumnElement[bool]:
    """Hold for rows of a project; of an older database for all."""
    return table.c.project == project if has_projects(connection) else sa.true()


def join_project(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], membership: sa.Table, project: str
) -> sa.Select[Any]:
    """Restrict a query to the rows whose `column` a table of members lists for a project."""
    if not has_projects(connection):
        return query
    target = next(each for each in membership.c if each.name != "project")
    return query.join(membership, column == target).where(membership.c.project == project)


def select_comparisons(connection: sa.Connection, project: str) -> sa.Select[Any]:
    """Select the fields of a project's comparisons, sorted by id."""
    columns = (comparisons.c.prompt_id, comparisons.c.response_a, comparisons.c.response_b)
    query = sa.select(*columns).order_by(comparisons.c.id)
    return join_project(connection, query, comparisons.c.id, project_comparisons, project)


def is_superseded(table: sa.Table) -> sa.ColumnElement[bool]:
    """Hold for rows of a table of answers that a later one supersedes."""
    later = table.alias()
    return sa.exists().where(later.c.supersedes == table.c.key)


def is_current() -> sa.ColumnElement[bool]:
    """Hold for judgements that count: no later one supersedes them, and they answer no training item."""
    return ~is_superseded(judgements) & ~is_training()


def is_training() -> sa.ColumnElement[bool]:
    """Hold for answers to training items (`TRAINING`); a quote within a text stands as \\" and so does not match."""
    return judgements.c.extra.contains(f'"{TRAINING}": true', autoescape=True)


def to_judgement(row: sa.Row[Any]) -> Judgement:
    """Convert a row to a judgement. DamagedRow: it is none."""
    where = f"judgement {row.key!r}"
    check_texts(where, row, ("key", "comparison_id", "annotator_id", "left_id", "right_id", "choice", "guideline"))
    if row.choice not in get_args(Choice):
        raise DamagedRow(f"{where}: choice is {truncate(row.choice)!r}")
    check_times(where, row)
    try:
        return make_judgement(row, where)
    except ValueError as error:
        raise DamagedRow(f"{where}: {error}") from error


def make_judgement(row: sa.Row[Any], where: str) -> Judgement:
    """Make the record of a row. ValueError: fields that exclude each other."""
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
        extra=parse_stored(row.extra, where, dict),
        both_bad=bool(row.both_bad),
        strength=row.strength,
        supersedes=row.supersedes,
        adjudicates=bool(row.adjudicates),
    )


def check_texts(where: str, row: Any, names: Sequence[str]) -> None:
    """DamagedRow: a column holds no text. SQLite stores values of any type in any column."""
    for name in names:
        if not isinstance(value := getattr(row, name), str):
            raise DamagedRow(f"{where}: {name} is {truncate(repr(value))}, not a text")


def check_times(where: str, row: Any) -> None:
    """DamagedRow: a duration that is no number, or a time that is no text."""
    seconds = row.duration_seconds
    if not (seconds is None or (isinstance(seconds, int | float) and math.isfinite(seconds))):
        raise DamagedRow(f"{where}: duration_seconds is {truncate(repr(seconds))}")
    if not isinstance(row.created_at, str | None):
        raise DamagedRow(f"{where}: created_at is {truncate(repr(row.created_at))}")


def parse_stored(text: Any, where: str, *types: type) -> Any:
    """Parse a column of JSON. DamagedRow: it is none, or holds none of these types; a list must be one of messages."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedRow(f"{where}: {truncate(repr(text))} is not JSON") from error
    if not isinstance(value, types) or (isinstance(value, list) and not all(isinstance(each, dict) for each in value)):
        raise DamagedRow(f"{where}: {truncate(text)} is not what stands there")
    return value


def to_prompt(row: sa.Row[Any]) -> Prompt:
    """Convert a row to a prompt. DamagedRow: it is none."""
    where = f"prompt {row.id!r}"
    check_texts(where, row, ("id", "conversation"))
    return Prompt(parse_stored(row.text, where, str, list), row.conversation, parse_stored(row.extra, where, dict))


def to_response(row: Any) -> Response:
    """Convert a row to a response. DamagedRow: it is none."""
    check_texts(f"response {row.id!r}", row, ("id", "prompt_id", "text", "model", "stop_reason"))
    file = None if row.sha256 is None else Media(row.kind, row.sha256, row.size)
    return Response(row.prompt_id, row.text, row.model, row.stop_reason, file)


def read_prompts(connection: sa.Connection, project: str) -> dict[str, Prompt]:
    """Return all prompts of a project by id, sorted."""
    query = join_project(connection, sa.select(prompts), prompts.c.id, project_prompts, project)
    return {row.id: to_prompt(row) for row in connection.execute(query.order_by(prompts.c.id))}


def read_responses(connection: sa.Connection, project: str) -> dict[str, Response]:
    """Return all responses to the prompts of a project by id, sorted."""
    text_columns = [column for column in responses.c if column.name != "media_sha256"]
    if read_version(connection) == "0001":  # before there were media files
        query = sa.select(*text_columns, sa.null().label("sha256"))
    else:
        query = sa.select(*text_columns, media).outerjoin_from(responses, media)
    query = join_project(connection, query, responses.c.prompt_id, project_prompts, project)
    return {row.id: to_response(row) for row in connection.execute(query.order_by(responses.c.id))}


def read_names(connection: sa.Connection) -> dict[str, str]:
    """Return people's names by their pseudonyms."""
    return {row.annotator_id: row.name for row in connection.execute(sa.select(people.c.annotator_id, people.c.name))}


def read_media(connection: sa.Connection, project: str) -> list[Media]:
    """Return all media files of a project, those of prompts too, sorted by hash."""
    if read_version(connection) == "0001":
        return []
    query = sa.select(media).join(responses, responses.c.media_sha256 == media.c.sha256).distinct()
    query = join_project(connection, query, responses.c.prompt_id, project_prompts, project)
    found = {row.sha256: Media(row.kind, row.sha256, row.size) for row in connection.execute(query)}
    for prompt in read_prompts(connection, project).values():
        found |= {picture["sha256"]: to_media(picture) for picture in list_pictures(prompt.text)}
    return [found[sha256] for sha256 in sorted(found)]


def read_judged(
    connection: sa.Connection, project: str, order: Sequence[Any], everything: bool = False
) -> Iterator[JudgedComparison]:
    """Yield a project's judgements in the given order; prompts and responses, which they share, stay in memory."""
    prompt_of, response_of = read_prompts(connection, project), read_responses(connection, project)
    query = select_judgements(connection, project, everything).order_by(*order)
    query = query.execution_options(yield_per=ROWS_PER_FETCH)
    for row in connection.execute(query):
        judgement = to_judgement(row)
        try:
            left, right = response_of[judgement.left], response_of[judgement.right]
            prompt = prompt_of[left.prompt_id]
        except KeyError as error:
            raise DamagedRow(f"judgement {judgement.key!r}: no prompt or response {truncate(str(error))}") from error
        yield JudgedComparison(judgement, prompt, left, right)


def in_byte_order(column: sa.Column[str], connection: sa.Connection) -> sa.ColumnElement[str]:
    """Collate by bytes; PostgreSQL's default is the database's language."""
    return column if connection.dialect.name == "sqlite" else column.collate("C")


def count_records(connection: sa.Connection, project: str) -> dict[str, int]:
    """Count prompts, responses, comparisons, judgements that count, and the people who gave these."""
    judged = select_judgements(connection, project).subquery()
    queries = {
        "prompts": join_project(connection, sa.select(prompts.c.id), prompts.c.id, project_prompts, project),
        "responses": join_project(
            connection, sa.select(responses.c.id), responses.c.prompt_id, project_prompts, project
        ),
        "comparisons": select_comparisons(connection, project).order_by(None),
        "judgements": sa.select(judged.c.key),
        "annotators": sa.select(judged.c.annotator_id).where(judged.c.annotator_id != "").distinct(),
    }
    return {
        name: connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        for name, query in queries.items()
    }
