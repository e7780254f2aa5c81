"""Rankings of several responses: their rows in the feedback database."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from likelier.feedback.database import DamagedRow
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
from likelier.feedback.tables import rankings
from likelier.files import dump_line
from likelier.files.json_text import truncate
from likelier.records import RankedResponses, Ranking


def ranking_row(record: Ranking) -> dict[str, Any]:
    """Convert a ranking to a row."""
    return {
        "key": record.key,
        "prompt_id": record.prompt_id,
        "annotator_id": record.annotator,
        "order": dump_line(record.order),
        "shown": dump_line(record.shown),
        "duration_seconds": record.duration_seconds,
        "created_at": record.created_at,
        "simulated": record.simulated,
        "guideline": record.guideline,
        "supersedes": record.supersedes,
        "extra": dump_line(record.extra),
    }


def to_ranking(row: sa.Row[Any]) -> Ranking:
    """Convert a row to a ranking. DamagedRow: it is none."""
    where = f"ranking {row.key!r}"
    check_texts(where, row, ("key", "prompt_id", "annotator_id", "guideline"))
    check_times(where, row)
    try:
        return Ranking(
            prompt_id=row.prompt_id,
            annotator=row.annotator_id,
            order=tuple(tuple(place) for place in parse_ids(row.order, where)),
            shown=tuple(parse_ids(row.shown, where)),
            duration_seconds=row.duration_seconds,
            created_at=row.created_at,
            simulated=row.simulated,
            guideline=row.guideline,
            key=row.key,
            supersedes=row.supersedes,
            extra=parse_stored(row.extra, where, dict),
        )
    except (ValueError, TypeError) as error:
        raise DamagedRow(f"{where}: {truncate(str(error))}") from error


def parse_ids(text: Any, where: str) -> list[Any]:
    """Parse a list of ids, or of lists of ids. DamagedRow: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedRow(f"{where}: {truncate(repr(text))} is not JSON") from error
    parts = value if isinstance(value, list) else [None]
    ids = [each for part in parts for each in (part if isinstance(part, list) else [part])]
    if not all(isinstance(each, str) for each in ids):
        raise DamagedRow(f"{where}: {truncate(text)} is no list of ids")
    return parts


def select_rankings(project: str, everything: bool = False) -> sa.Select[Any]:
    """Select a project's rankings; those that a later one supersedes only with `everything`."""
    query = sa.select(rankings).where(rankings.c.project == project)
    return query if everything else query.where(~is_superseded(rankings))


def count_rankings(connection: sa.Connection, project: str) -> int:
    """Return the number of a project's rankings that count."""
    if not has_projects(connection):
        return 0
    ranked = select_rankings(project).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(ranked)).scalar_one())


def read_ranked(connection: sa.Connection, project: str, everything: bool = False) -> Iterator[RankedResponses]:
    """Yield a project's rankings with prompts and responses, in an order determined by their content."""
    if not has_projects(connection):
        return
    prompt_of, response_of = read_prompts(connection, project), read_responses(connection, project)
    order = [in_byte_order(column, connection) for column in (rankings.c.prompt_id, rankings.c.key)]
    query = select_rankings(project, everything).order_by(*order).execution_options(yield_per=ROWS_PER_FETCH)
    for row in connection.execute(query):
        ranking = to_ranking(row)
        try:
            shown = tuple(response_of[each] for each in ranking.shown)
            yield RankedResponses(ranking, prompt_of[ranking.prompt_id], shown)
        except KeyError as error:
            raise DamagedRow(f"ranking {ranking.key!r}: no prompt or response {truncate(str(error))}") from error
