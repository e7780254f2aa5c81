"""Which questions were answered, by whom and as shown: read from the tables of answers by number."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.questions import Shown, hash_set
from likelier.feedback.rows import is_superseded, is_training
from likelier.feedback.tables import judgements, rankings, ratings
from likelier.records import Answer, Judgement, Ranking, Rating

TABLES: dict[type[Answer], sa.Table] = {Judgement: judgements, Rating: ratings, Ranking: rankings}


def read_shown(connection: sa.Connection, project: str, kind: type[Answer], number: int) -> list[Shown]:
    """Return a project's answers of one kind that are numbered above `number`, in this order.

    Of a database that this process writes, which is of the newest version.
    """
    rows = connection.execute(STATEMENTS[kind], {"number": number, "project": project})
    return [to_shown(tuple(row)) for row in rows]


def make_statement(kind: type[Answer]) -> sa.Select[Any]:
    """Return the statement that selects answers of one kind."""
    table = TABLES[kind]
    training = is_training() if kind is Judgement else sa.false()
    columns = (table.c.number, table.c.annotator_id, table.c.supersedes.is_not(None), training)
    is_new = table.c.number > sa.bindparam("number"), table.c.project == sa.bindparam("project")
    return sa.select(*columns, *subject_columns(kind)).where(*is_new).order_by(table.c.number)


def subject_columns(kind: type[Answer]) -> list[sa.Column[Any]]:
    """Return the columns that say what was answered, and how it was shown."""
    if kind is Judgement:
        return [judgements.c.comparison_id, judgements.c.left_id, judgements.c.right_id]
    return [rankings.c.prompt_id, rankings.c.shown] if kind is Ranking else [ratings.c.response_id]


STATEMENTS = {kind: make_statement(kind) for kind in TABLES}
"""Of every question, so they are put together once."""


def to_shown(row: Sequence[Any]) -> Shown:
    """Convert a row: of a comparison with its sides, a prompt with the list of a ranking, or a response."""
    number, annotator, supersedes, training, first, *rest = row
    if len(rest) == 1:
        shown = tuple(json.loads(rest[0]))
        return Shown(number, hash_set(first, shown), annotator, shown, bool(supersedes))
    return Shown(number, first, annotator, tuple(rest) or (first,), bool(supersedes), bool(training))


def read_choices(
    connection: sa.Connection, project: str, number: int, limit: int
) -> list[tuple[int, str, str, str | None]]:
    """Return the first `limit` judgements of a project numbered above `number`: number, person, comparison, preferred.

    The preferred response is None for a tie. None for training, none of a reviewer.
    """
    columns = (judgements.c.number, judgements.c.annotator_id, judgements.c.comparison_id, judgements.c.choice)
    is_new = (judgements.c.project == project) & (judgements.c.number > number)
    counts = ~is_training() & ~judgements.c.adjudicates
    query = sa.select(*columns, judgements.c.left_id, judgements.c.right_id).where(is_new, counts)
    rows = connection.execute(query.order_by(judgements.c.number).limit(limit))
    sides = {"left": "left_id", "right": "right_id"}
    return [
        (
            row.number,
            row.annotator_id,
            row.comparison_id,
            getattr(row, sides[row.choice]) if row.choice in sides else None,
        )
        for row in rows
    ]


def read_draws(connection: sa.Connection, project: str) -> dict[str, Draw]:
    """Return how the comparisons of a project were drawn that an acquisition strategy chose, by their ids."""
    query = sa.select(judgements.c.comparison_id, judgements.c.extra).where(judgements.c.project == project)
    rows = connection.execute(query.where(judgements.c.extra.contains(f'"{ASKED}"', autoescape=True)))
    drawn = {row.comparison_id: Draw.from_extra(json.loads(row.extra)) for row in rows}
    return {comparison: draw for comparison, draw in drawn.items() if draw}


def count_since(connection: sa.Connection, project: str, kind: type[Answer], annotator: str, since: str) -> int:
    """Count an annotator's answers of one kind from a time on (ISO 8601, UTC), without changes of earlier ones."""
    table = TABLES[kind]
    counts = table.c.supersedes.is_(None) & (~is_training() if kind is Judgement else sa.true())
    query = sa.select(sa.func.count()).select_from(table)
    query = query.where(table.c.annotator_id == annotator, table.c.created_at >= since, counts)
    return connection.execute(query.where(table.c.project == project)).scalar_one()


def find_current(connection: sa.Connection, project: str, answer: Rating | Ranking, annotator: str) -> str | None:
    """Return the key of an annotator's newest answer to the same question that no later one supersedes."""
    table = TABLES[type(answer)]
    if isinstance(answer, Ranking):
        subject = rankings.c.prompt_id == answer.prompt_id
    else:
        subject = ratings.c.response_id == answer.response_id
    is_own = (table.c.annotator_id == annotator) & (table.c.project == project)
    query = sa.select(table).where(is_own, subject, ~is_superseded(table)).order_by(table.c.number.desc())
    for row in connection.execute(query):
        if not isinstance(answer, Ranking) or sorted(json.loads(row.shown)) == sorted(answer.shown):
            return str(row.key)
    return None


def count_stored(connection: sa.Connection, project: str, kind: type[Answer]) -> int:
    """Count a project's answers of one kind, those that a later one supersedes among them."""
    table = TABLES[kind]
    query = sa.select(sa.func.count()).select_from(table).where(table.c.project == project)
    return connection.execute(query).scalar_one()
