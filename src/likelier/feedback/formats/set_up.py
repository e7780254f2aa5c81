"""Lines of a `likelier` file about the project itself: its settings, guidelines, gold and training items.

`"record": "project"` has the `settings` that are not the defaults; `"guidelines"` one version with its `text`; `"gold"`
a comparison with `kind` (`gold`, `training`), the `better` side (`left`, `right`, `tie`) and the owner's `explanation`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import ValidationError

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    SetUp,
    check_choice,
    read_text,
    read_typed,
    require,
    shorten,
)
from likelier.feedback.projects import Gold, Guideline, ProjectSettings, read_gold, read_guidelines, read_settings
from likelier.feedback.store import Store
from likelier.records import Comparison

GOLD_FIELDS = {"kind", "better", "explanation"}
SET_UP_FIELDS = {
    "project": {"schema_version", "record", "settings"},
    "guidelines": {"schema_version", "record", "version", "text", "created_at"},
}
"""Fields of the lines that have no prompt."""


class ProjectSetUp(NamedTuple):
    """How a project is set up."""

    settings: ProjectSettings
    guidelines: list[Guideline]
    gold: dict[str, Gold]

    def count_lines(self) -> int:
        """Count the lines that it has in a `likelier` file."""
        return (self.settings != ProjectSettings()) + len(self.guidelines) + len(self.gold)


def read_project(store: Store) -> ProjectSetUp:
    """Return how the store's project is set up."""
    with store.reading() as connection:
        return ProjectSetUp(
            read_settings(connection, store.project),
            read_guidelines(connection, store.project),
            read_gold(connection, store.project),
        )


def set_up_lines(project: ProjectSetUp, schema_version: int) -> Iterator[Line]:
    """Format settings that are not the defaults, and every version of the guidelines."""
    if settings := project.settings.model_dump(mode="json", exclude_defaults=True):
        yield {"schema_version": schema_version, "record": "project", "settings": settings}
    for guideline in project.guidelines:
        yield {"schema_version": schema_version, "record": "guidelines", **guideline._asdict()}


def gold_fields(item: Gold, comparison: Comparison) -> Line:
    """Return the fields of a gold item beside its comparison."""
    sides = {comparison.response_a: "left", comparison.response_b: "right", None: "tie"}
    return {"kind": item.kind, "better": sides[item.better], "explanation": item.explanation}


def read_set_up(record: Line, where: Place) -> SetUp:
    """Read settings, or a version of the guidelines. DataError: they cannot be."""
    if record["record"] == "project":
        settings = require(record, "settings", where)
        try:
            return SetUp(settings=ProjectSettings.model_validate(settings))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, ("settings", *first["loc"])))
            raise DataError(f"{where}: `{name}`: {first['msg']}, got {shorten(first['input'])}") from error
    version = require(record, "version", where)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 10**9:
        raise DataError(f"{where}: `version` must be a whole number from 1 up, got {shorten(version)}")
    created_at = read_typed(record, "created_at", str, "", where)
    return SetUp(guideline=Guideline(version, read_text(record, "text", where), created_at))


def read_gold_item(record: Line, entry: Entry, where: Place) -> Gold:
    """Read what the owner knows of the comparison of an entry."""
    kind, better = record.get("kind", "gold"), require(record, "better", where)
    check_choice(kind, ("gold", "training"), "kind", where)
    check_choice(better, ("left", "right", "tie"), "better", where)
    assert entry.comparison is not None
    left, right = entry.responses
    side = {"left": left.id, "right": right.id, "tie": None}[better]
    return Gold(entry.comparison.id, kind, side, read_typed(record, "explanation", str, "", where))
