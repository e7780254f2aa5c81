"""Projects of a feedback database: what is asked in each, by which guidelines, and who judges there."""

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from likelier.errors import ConfigError, DataError
from likelier.feedback.database import DamagedRow
from likelier.feedback.open_database import Database
from likelier.feedback.pairing import REPEAT_SHARE
from likelier.feedback.rows import has_projects
from likelier.feedback.tables import DEFAULT_PROJECT, gold, guidelines, projects
from likelier.feedback.writer import Writer

MAX_NAME = 60
"""Characters of a project's name."""
MAX_TAGS, MAX_TAG = 20, 100
"""Reasons to choose from in a project, and characters of each."""
Ask = Literal["comparisons", "ratings", "rankings", "conversations"]


class ProjectSettings(BaseModel):
    """Settings of a project: the questions that people are asked, and the totals that they may see."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ask: Ask = "comparisons"
    """Which of two responses is better; how good each response is; the order of several; or a conversation with the
    model in which the person picks one of two answers at each turn."""
    per_comparison: int = Field(default=2, ge=1, le=100)
    """People who judge each comparison (or response, or prompt)."""
    strength: bool = True
    """Let people say how much better the chosen side is."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=MAX_TAG)], ...] = Field(default=(), max_length=MAX_TAGS)
    """Reasons to choose from, each different."""
    comment: bool = True
    """Let people write a line about their choice."""
    rating: Literal["1-7", "thumbs"] = "1-7"
    """How responses are rated."""
    responses_per_ranking: int = Field(default=4, ge=2, le=9)
    """Responses to a prompt that are put in order at once."""
    repeat_share: float = Field(default=REPEAT_SHARE, ge=0, le=0.5)
    """Share of questions that repeat an earlier one with its sides swapped."""
    gold_share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of questions to which the owner knows the answer, while such are left."""
    show_totals: bool = True
    """Show everybody how much is judged by all; otherwise each person sees their own number only."""

    @field_validator("tags")
    @classmethod
    def drop_doubles(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        """Return each tag once."""
        return tuple(dict.fromkeys(tags))


class Gold(NamedTuple):
    """A comparison to which the owner knows the answer: asked without a sign (`gold`), or to teach (`training`)."""

    comparison_id: str
    kind: Literal["gold", "training"]
    better: str | None
    """Id of the better response; None for a tie."""
    explanation: str = ""


class Guideline(NamedTuple):
    """One version of a project's guidelines, in Markdown."""

    version: int
    text: str
    created_at: str


NAMES = sa.select(projects.c.name).order_by(projects.c.name)
"""Of every request, so it is put together once."""


def list_projects(database: Database) -> list[str]:
    """Return the names of all projects, sorted; an older database has one."""
    with database.reading() as connection:
        if not (database.is_current or has_projects(connection)):
            return [DEFAULT_PROJECT]
        return list(connection.execute(NAMES).scalars())


def choose_project(names: list[str], wanted: str | None, db: str, create: bool, any_project: bool) -> str:
    """Return the project to open. DataError: it is not there, and not `create`. ConfigError: no name, and several."""
    if wanted is None:
        if len(names) > 1 and not any_project:
            raise ConfigError(f"{db} holds the projects {', '.join(names)}; choose one with --project NAME")
        return names[0] if names else DEFAULT_PROJECT
    check_name(wanted)
    if wanted not in names and not create:
        matches = difflib.get_close_matches(wanted, names, 1)
        hint = f"; did you mean {matches[0]}?" if matches else f"; there is {', '.join(names) or 'none yet'}"
        raise DataError(f"--project {wanted}: no such project in {db}{hint}")
    return wanted


def check_name(name: str) -> str:
    """Return a project's name. ConfigError: it cannot be one."""
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable() or "/" in name:
        raise ConfigError(f"--project {name!r}: give 1 to {MAX_NAME} printable characters without a slash")
    return name


def read_settings(connection: sa.Connection, project: str) -> ProjectSettings:
    """Return a project's settings; the defaults for one that is not there yet. DamagedRow: they are none."""
    if not has_projects(connection):
        return ProjectSettings()
    text = connection.execute(sa.select(projects.c.settings).where(projects.c.name == project)).scalar_one_or_none()
    try:
        return ProjectSettings.model_validate_json(text or "{}")
    except ValidationError as error:
        raise DamagedRow(f"project {project!r}: its settings cannot be read ({error.errors()[0]['msg']})") from error


def write_settings(writer: Writer, settings: ProjectSettings) -> None:
    """Change the settings of the writer's project."""
    writer.add_project()
    text = settings.model_dump_json(exclude_defaults=True)
    writer.connection.execute(projects.update().where(projects.c.name == writer.project).values(settings=text))


def take_settings(writer: Writer, settings: ProjectSettings) -> bool:
    """Give the writer's project these settings unless it has others than the defaults; True if they are its own now."""
    known = read_settings(writer.connection, writer.project)
    if known == ProjectSettings():
        write_settings(writer, settings)
        return True
    return known == settings


def read_guidelines(connection: sa.Connection, project: str) -> list[Guideline]:
    """Return all versions of a project's guidelines, the oldest first."""
    if not has_projects(connection):
        return []
    query = sa.select(guidelines.c.version, guidelines.c.text, guidelines.c.created_at)
    rows = connection.execute(query.where(guidelines.c.project == project).order_by(guidelines.c.version))
    return [Guideline(*row) for row in rows]


def add_guideline(writer: Writer, text: str) -> Guideline:
    """Store a new version of the guidelines, unless it is the newest already; returns the newest."""
    writer.add_project()
    known = read_guidelines(writer.connection, writer.project)
    if known and known[-1].text == text:
        return known[-1]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = Guideline(known[-1].version + 1 if known else 1, text, now)
    writer.connection.execute(guidelines.insert().values(project=writer.project, **new._asdict()))
    return new


def take_guideline(writer: Writer, guideline: Guideline) -> int:
    """Store one version of the guidelines; returns how many are new. DataError: this version has another text."""
    writer.add_project()
    known = {each.version: each.text for each in read_guidelines(writer.connection, writer.project)}
    if known.get(guideline.version, guideline.text) != guideline.text:
        raise DataError(f"version {guideline.version} of the guidelines has another text here; answers name versions")
    if guideline.version in known:
        return 0
    writer.connection.execute(guidelines.insert().values(project=writer.project, **guideline._asdict()))
    return 1


def read_gold(connection: sa.Connection, project: str) -> dict[str, Gold]:
    """Return a project's gold and training items by comparison."""
    if not has_projects(connection):
        return {}
    query = sa.select(gold.c.comparison_id, gold.c.kind, gold.c.better, gold.c.explanation)
    rows = connection.execute(query.where(gold.c.project == project).order_by(gold.c.comparison_id))
    return {row.comparison_id: Gold(*row) for row in rows}


def write_gold(writer: Writer, item: Gold) -> None:
    """Store or change a gold or training item."""
    remove_gold(writer, item.comparison_id)
    writer.connection.execute(gold.insert().values(project=writer.project, **item._asdict()))


def add_gold(writer: Writer, items: Iterable[Gold]) -> int:
    """Store gold and training items of comparisons that are none yet; returns how many were new."""
    return writer.insert(gold, [{"project": writer.project, **item._asdict()} for item in items])


def remove_gold(writer: Writer, comparison_id: str) -> None:
    """Make a gold or training item an ordinary comparison."""
    is_this = (gold.c.project == writer.project) & (gold.c.comparison_id == comparison_id)
    writer.connection.execute(gold.delete().where(is_this))
