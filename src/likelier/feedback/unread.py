"""Ratings and rankings, which `check`, `preferences` and the report do not read: that they are there is said."""

from likelier.feedback.rankings import count_rankings
from likelier.feedback.ratings import count_ratings
from likelier.feedback.store import Store


def count_unread(store: Store) -> dict[str, int]:
    """Count a project's ratings and rankings that no later one supersedes."""
    with store.reading() as connection:
        return {
            "ratings": count_ratings(connection, store.project),
            "rankings": count_rankings(connection, store.project),
        }


def describe_unread(store: Store) -> str:
    """Return a line that says how many there are; empty without any."""
    counts = count_unread(store)
    parts = [f"{count:,} {name if count > 1 else name[:-1]}" for name, count in counts.items() if count]
    if not parts:
        return ""
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"{' and '.join(parts)} in {store.name} {verb} not read: only judgements of two responses are, as yet"
