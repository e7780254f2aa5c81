"""Conversion between records and rows of the feedback database."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from likelier.feedback.database import judgements, media, prompts, read_version, responses
from likelier.files import dump_line
from likelier.records import Comparison, JudgedComparison, Judgement, Media, Prompt, Response

JUDGEMENT_COLUMNS = tuple(column for column in judgements.c if column.name != "number")
ROWS_PER_FETCH = 1000


def prompt_row(record: Prompt) -> dict[str, Any]:
    """Convert a prompt to a row."""
    return {
        "id": record.id,
        "text": dump_line(record.text),
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
    }


def to_judgement(row: sa.Row[Any]) -> Judgement:
    """Convert a row to a judgement."""
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
    """Return all prompts by id, sorted."""
    rows = connection.execute(sa.select(prompts).order_by(prompts.c.id))
    return {row.id: Prompt(json.loads(row.text), row.conversation, json.loads(row.extra)) for row in rows}


def read_responses(connection: sa.Connection) -> dict[str, Response]:
    """Return all responses by id, sorted."""
    text_columns = [column for column in responses.c if column.name != "media_sha256"]
    if read_version(connection) == "0001":  # before there were media files
        query = sa.select(*text_columns, sa.null().label("sha256"))
    else:
        query = sa.select(*text_columns, media).outerjoin_from(responses, media)
    return {
        row.id: Response(
            row.prompt_id,
            row.text,
            row.model,
            row.stop_reason,
            None if row.sha256 is None else Media(row.kind, row.sha256, row.size),
        )
        for row in connection.execute(query.order_by(responses.c.id))
    }


def read_media(connection: sa.Connection) -> list[Media]:
    """Return all media files, sorted by hash."""
    if read_version(connection) == "0001":
        return []
    rows = connection.execute(sa.select(media).order_by(media.c.sha256))
    return [Media(row.kind, row.sha256, row.size) for row in rows]


def read_judged(connection: sa.Connection, order: Sequence[Any]) -> Iterator[JudgedComparison]:
    """Yield judgements in the given order; prompts and responses, which they share, stay in memory."""
    prompt_of, response_of = read_prompts(connection), read_responses(connection)
    query = sa.select(*JUDGEMENT_COLUMNS).order_by(*order).execution_options(yield_per=ROWS_PER_FETCH)
    for row in connection.execute(query):
        left, right = response_of[row.left_id], response_of[row.right_id]
        yield JudgedComparison(to_judgement(row), prompt_of[left.prompt_id], left, right)


def in_byte_order(column: sa.Column[str], connection: sa.Connection) -> sa.ColumnElement[str]:
    """Collate by bytes; PostgreSQL's default is the database's language."""
    return column if connection.dialect.name == "sqlite" else column.collate("C")
