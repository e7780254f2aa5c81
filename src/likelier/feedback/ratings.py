"""Ratings of single responses: their rows in the feedback database."""

import math
from collections.abc import Iterator
from typing import Any, get_args

import sqlalchemy as sa

from likelier.feedback.database import DamagedRow, read_version
from likelier.feedback.rows import (
    ROWS_PER_FETCH,
    check_texts,
    check_times,
    has_projects,
    in_byte_order,
    is_superseded,
    parse_stored,
    read_prompts,
    read_responses,
)
from likelier.feedback.tables import ratings
from likelier.files import dump_line
from likelier.files.json_text import truncate
from likelier.records import RatedResponse, Rating, RatingKind

BEFORE_0005 = (
    *(column for column in ratings.c if column.name not in ("project", "duration_seconds", "guideline", "supersedes")),
    sa.null().label("duration_seconds"),
    sa.literal("").label("guideline"),
    sa.null().label("supersedes"),
)


def rating_row(record: Rating) -> dict[str, Any]:
    """Convert a rating to a row."""
    return {
        "key": record.key,
        "response_id": record.response_id,
        "annotator_id": record.annotator,
        "value": record.value,
        "kind": record.kind,
        "created_at": record.created_at,
        "simulated": record.simulated,
        "extra": dump_line(record.extra),
        "duration_seconds": record.duration_seconds,
        "guideline": record.guideline,
        "supersedes": record.supersedes,
    }


def to_rating(row: sa.Row[Any]) -> Rating:
    """Convert a row to a rating. DamagedRow: it is none."""
    where = f"rating {row.key!r}"
    check_texts(where, row, ("key", "response_id", "annotator_id", "kind", "guideline"))
    is_number = isinstance(row.value, int | float) and math.isfinite(row.value)
    if row.kind not in get_args(RatingKind) or not is_number or (row.kind == "thumbs" and row.value not in (0, 1)):
        raise DamagedRow(f"{where}: {truncate(row.kind)} is {truncate(repr(row.value))}")
    check_times(where, row)
    return Rating(
        response_id=row.response_id,
        annotator=row.annotator_id,
        value=float(row.value),
        kind=row.kind,
        created_at=row.created_at,
        simulated=row.simulated,
        key=row.key,
        extra=parse_stored(row.extra, where, dict),
        duration_seconds=row.duration_seconds,
        guideline=row.guideline,
        supersedes=row.supersedes,
    )


def select_ratings(
    connection: sa.Connection, project: str, everything: bool = False, until: int | None = None
) -> sa.Select[Any]:
    """Select a project's ratings; those that a later one supersedes only with `everything`.

    With `until` those that counted when this was the number of the newest.
    """
    if not has_projects(connection):
        return sa.select(*BEFORE_0005)
    query = sa.select(ratings).where(ratings.c.project == project)
    if until is not None:
        later = ratings.alias()
        was_superseded = sa.exists().where(later.c.supersedes == ratings.c.key, later.c.number <= until)
        return query.where(ratings.c.number <= until, ~was_superseded)
    return query if everything else query.where(~is_superseded(ratings))


def find_newest_rating(connection: sa.Connection, project: str) -> int:
    """Return the number of a project's newest rating; 0 without any."""
    query = sa.select(sa.func.max(ratings.c.number)).where(ratings.c.project == project)
    return int(connection.execute(query).scalar_one() or 0)


def count_ratings(connection: sa.Connection, project: str) -> int:
    """Return the number of a project's ratings that count."""
    if read_version(connection) in ("0001", "0002", "0003"):
        return 0
    rated = select_ratings(connection, project, everything=False).order_by(None).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(rated)).scalar_one())


def read_rated(
    connection: sa.Connection, project: str, everything: bool = False, until: int | None = None
) -> Iterator[RatedResponse]:
    """Yield a project's ratings with prompts and responses, in an order determined by their content.

    `everything`, `until`: see `select_ratings`.
    """
    if read_version(connection) in ("0001", "0002", "0003"):
        return
    prompt_of, response_of = read_prompts(connection, project), read_responses(connection, project)
    order = [in_byte_order(column, connection) for column in (ratings.c.response_id, ratings.c.key)]
    query = select_ratings(connection, project, everything, until).order_by(*order)
    for row in connection.execute(query.execution_options(yield_per=ROWS_PER_FETCH)):
        rating = to_rating(row)
        try:
            response = response_of[rating.response_id]
            yield RatedResponse(rating, prompt_of[response.prompt_id], response)
        except KeyError as error:
            raise DamagedRow(f"rating {rating.key!r}: no prompt or response {truncate(str(error))}") from error
