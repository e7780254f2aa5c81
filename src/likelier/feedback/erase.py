"""Erases a person on request: their name and account, what they typed, and what grew out of it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa

from likelier.feedback.questions import conversation_id
from likelier.feedback.tables import (
    accounts,
    comparisons,
    gold,
    invitations,
    judgements,
    members,
    people,
    project_comparisons,
    project_prompts,
    prompts,
    rankings,
    ratings,
    responses,
    screens,
    sessions,
    skips,
    written,
)
from likelier.feedback.writer import ROWS_PER_QUERY, Writer
from likelier.files import dump_line

ANSWERS = (judgements, ratings, rankings)
COMMENT = "comment"
"""Key in `extra` of an answer, of the line that its person typed."""


class Erased(NamedTuple):
    """Numbers of records erased with a name; answers to what others wrote stay, under the pseudonym."""

    pseudonyms: list[str]
    reasons: int = 0
    """Lines that stood beside their answers."""
    prompts: int = 0
    """Their messages in conversations, each with all before it, and with the model's answers."""
    judgements: int = 0
    """Answers of all kinds to these, whoever gave them: without the texts they say nothing."""

    def count_all(self) -> dict[str, int]:
        """Return the numbers by their names."""
        return {"reasons": self.reasons, "prompts": self.prompts, "judgements": self.judgements}


def erase_person(writer: Writer, name: str) -> Erased:
    """Erase a person by name, in all projects; no pseudonyms if nobody is called so."""
    if writer.connection.dialect.name == "sqlite":  # deleted rows are overwritten, not only marked as free
        writer.connection.exec_driver_sql("PRAGMA secure_delete=ON")
    erased = list(writer.find_people(name).values())
    if not erased:
        return Erased([])
    typed = find_typed(writer.connection, erased)
    with answers_may_change(writer.connection):
        num_judgements = drop_prompts(writer.connection, typed)
        num_reasons = drop_reasons(writer.connection, erased)
    for table in (sessions, invitations, members, accounts, people, skips, screens, written):
        writer.connection.execute(table.delete().where(table.c.annotator_id.in_(erased)))
    return Erased(erased, num_reasons, len(typed), num_judgements)


def find_typed(connection: sa.Connection, erased: Sequence[str]) -> list[str]:
    """Return the ids of the prompts that grew out of what these people typed, and that nobody else typed too.

    Of conversations from before it was noted who wrote (schema 0007), those that they judged.
    """
    noted = sa.select(written.c.prompt_id)
    own = sa.select(prompts).join(written).where(written.c.annotator_id.in_(erased))
    judged = sa.select(prompts).join(comparisons, comparisons.c.prompt_id == prompts.c.id).join(judgements)
    judged = judged.where(judgements.c.annotator_id.in_(erased), prompts.c.conversation != "")
    judged = judged.where(prompts.c.id.not_in(noted)).distinct()
    begun = [*connection.execute(own), *(row for row in connection.execute(judged) if is_conversation(row))]
    starts = [json.loads(row.text) for row in begun]
    others = noted.where(written.c.annotator_id.not_in(erased))
    conversations = sorted({row.conversation for row in begun})
    known = sa.select(prompts).where(prompts.c.id.not_in(others))
    rows = [
        row
        for some in split(conversations)
        for row in connection.execute(known.where(prompts.c.conversation.in_(some)))
    ]
    return [row.id for row in rows if any(json.loads(row.text)[: len(start)] == start for start in starts)]


def split(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids in parts that fit into a query."""
    return (ids[start : start + ROWS_PER_QUERY] for start in range(0, len(ids), ROWS_PER_QUERY))


def is_conversation(row: sa.Row[Any]) -> bool:
    """True for a prompt that was typed on the page: its conversation is named by its first message."""
    turns = json.loads(row.text)
    return isinstance(turns, list) and bool(turns) and row.conversation == conversation_id(turns)


@contextmanager
def answers_may_change(connection: sa.Connection) -> Iterator[None]:
    """Let the tables of answers, which otherwise only grow, be changed in the block; part of the transaction."""
    names = [table.name for table in ANSWERS]
    if connection.dialect.name != "sqlite":
        for name in names:
            connection.exec_driver_sql(f"ALTER TABLE {name} DISABLE TRIGGER {name}_only_added")
        yield
        for name in names:
            connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE TRIGGER {name}_only_added")
        return
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :name")
    triggers = [row for name in names for row in connection.execute(query, {"name": name})]
    for trigger in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {trigger.name}")
    yield
    for trigger in triggers:
        connection.exec_driver_sql(trigger.sql)


def drop_prompts(connection: sa.Connection, ids: Sequence[str]) -> int:
    """Delete prompts with all that depends on them; returns how many answers of people went with them."""
    num_answers = 0
    for some in split(ids):
        compared = sa.select(comparisons.c.id).where(comparisons.c.prompt_id.in_(some))
        answered = sa.select(responses.c.id).where(responses.c.prompt_id.in_(some))
        for table, is_theirs in (
            (judgements, judgements.c.comparison_id.in_(compared)),
            (ratings, ratings.c.response_id.in_(answered)),
            (rankings, rankings.c.prompt_id.in_(some)),
        ):
            num_answers += connection.execute(table.delete().where(is_theirs)).rowcount
        for table, column in ((gold, "comparison_id"), (project_comparisons, "comparison_id"), (skips, "question_id")):
            connection.execute(table.delete().where(table.c[column].in_(compared)))
        for table, column in (
            (comparisons, "prompt_id"),
            (responses, "prompt_id"),
            (project_prompts, "prompt_id"),
            (written, "prompt_id"),
            (prompts, "id"),
        ):
            connection.execute(table.delete().where(table.c[column].in_(some)))
    return num_answers


def drop_reasons(connection: sa.Connection, erased: Sequence[str]) -> int:
    """Delete the lines that people typed beside their answers; returns how many there were."""
    num_dropped = 0
    for table in ANSWERS:
        is_theirs = table.c.annotator_id.in_(erased) & table.c.extra.contains(f'"{COMMENT}"', autoescape=True)
        for row in connection.execute(sa.select(table.c.number, table.c.extra).where(is_theirs)).all():
            extra = json.loads(row.extra)
            if extra.pop(COMMENT, None) is not None:
                update = table.update().where(table.c.number == row.number)
                connection.execute(update.values(extra=dump_line(extra)))
                num_dropped += 1
    return num_dropped
