"""Comparisons on which people disagree, found in the database."""

import sqlalchemy as sa

from likelier.feedback.rows import has_projects, is_current
from likelier.feedback.tables import judgements


def find_disagreements(connection: sa.Connection, project: str, limit: int) -> list[str]:
    """Return ids of comparisons on which people disagree and that nobody has decided yet, at most `limit`."""
    if not has_projects(connection):
        return []
    preferred = sa.case(
        (judgements.c.choice == "left", judgements.c.left_id), (judgements.c.choice == "right", judgements.c.right_id)
    )
    answer = sa.func.coalesce(preferred, "tie")
    query = (
        sa.select(judgements.c.comparison_id)
        .where(judgements.c.project == project, is_current())
        .group_by(judgements.c.comparison_id)
        .having(
            sa.func.count(answer.distinct()) > 1,
            sa.func.max(sa.case((judgements.c.adjudicates, 1), else_=0)) == 0,
        )
        .order_by(judgements.c.comparison_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())
