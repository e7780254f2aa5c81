"""Ratings and rankings, which `check`, `preferences` and the report do not read: that they are there is said."""

import sqlalchemy as sa

from likelier.feedback.database import read_version
from likelier.feedback.rankings import select_rankings
from likelier.feedback.ratings import select_ratings
from likelier.feedback.rows import has_projects
from likelier.feedback.store import Store


def count_unread(store: Store) -> dict[str, int]:
    """Count a project's ratings and rankings that no later one supersedes."""
    with store.reading() as connection:
        queries: dict[str, sa.Select[tuple[object, ...]]] = {}
        if read_version(connection) not in ("0001", "0002", "0003"):
            queries["ratings"] = select_ratings(connection, store.project)
        if has_projects(connection):
            queries["rankings"] = select_rankings(store.project)
        counts = {
            name: connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            for name, query in queries.items()
        }
    return {"ratings": 0, "rankings": 0} | counts


def describe_unread(store: Store) -> str:
    """Return a line that says how many there are; empty without any."""
    counts = count_unread(store)
    parts = [f"{count:,} {name if count > 1 else name[:-1]}" for name, count in counts.items() if count]
    if not parts:
        return ""
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"{' and '.join(parts)} in {store.name} {verb} not read: only judgements of two responses are, as yet"
