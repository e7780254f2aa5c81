"""Stores the questions that people skipped and those on their screens: a restart changes nothing for them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from likelier.feedback.draws import Draw
from likelier.feedback.questions import Assignment
from likelier.feedback.tables import screens, skips
from likelier.feedback.writer import Writer
from likelier.files import dump_line


class Held(NamedTuple):
    """A question that somebody holds: its id, the responses as shown, and if it repeats an earlier one."""

    question_id: str
    shown: tuple[str, ...]
    repeat: bool
    draw: Draw | None = None
    """How it was drawn, where not each had the same chance."""

    def to_json(self) -> list[Any]:
        """Return the values, the draw only where there is one: earlier versions know none."""
        return [*self[:3], self.draw.to_text()] if self.draw else list(self[:3])

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "Held":
        """Return what `to_json` was of."""
        question_id, shown, repeat, *draw = values
        return cls(question_id, tuple(shown), repeat, Draw.from_text(draw[0]) if draw else None)


class Screen(NamedTuple):
    """The questions that a person holds until a time, in seconds since 1970."""

    annotator: str
    held: tuple[Held, ...]
    ends_at: float


def make_screen(annotator: str, held: Iterable[Assignment], ends_at: float) -> Screen:
    """Return what a person holds."""
    return Screen(
        annotator, tuple(Held(each.question.id, each.shown, each.repeat, each.draw) for each in held), ends_at
    )


def add_skip(writer: Writer, annotator: str, question_id: str) -> None:
    """Store that a person skipped a question of the writer's project."""
    writer.insert(skips, [{"project": writer.project, "annotator_id": annotator, "question_id": question_id}])


def read_skips(connection: sa.Connection, project: str) -> list[tuple[str, str]]:
    """Return who skipped which questions of a project."""
    query = sa.select(skips.c.annotator_id, skips.c.question_id).where(skips.c.project == project)
    return [(row.annotator_id, row.question_id) for row in connection.execute(query)]


def keep_screens(writer: Writer, changed: Iterable[Screen]) -> None:
    """Store what people hold, in place of what each of them held before."""
    rows = [
        {
            "annotator": each.annotator,
            "held": dump_line([held.to_json() for held in each.held]),
            "ends_at": each.ends_at,
            "project": writer.project,
        }
        for each in changed
    ]
    if rows:
        writer.connection.execute(KEEP, rows)


KEEP = sa.text(
    "INSERT INTO screens (project, annotator_id, held, ends_at) VALUES (:project, :annotator, :held, :ends_at) "
    "ON CONFLICT (project, annotator_id) DO UPDATE SET held = excluded.held, ends_at = excluded.ends_at"
)
"""Of every answer, and the same on both databases."""


def read_screens(connection: sa.Connection, project: str, now: float) -> list[Screen]:
    """Return what people held when the server stopped and may still hold, the first to end first."""
    is_open = (screens.c.project == project) & (screens.c.ends_at > now)
    rows = connection.execute(sa.select(screens).where(is_open).order_by(screens.c.ends_at))
    return [Screen(row.annotator_id, tuple(map(Held.from_json, json.loads(row.held))), row.ends_at) for row in rows]
