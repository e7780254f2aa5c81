"""Routes by which the owner sets up projects: settings, guidelines, prompts and files, gold items, members."""

import tempfile
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from likelier.errors import ConfigError, DataError, UnknownFormatError
from likelier.feedback.formats import import_file
from likelier.feedback.projects import (
    MAX_NAME,
    Gold,
    ProjectSettings,
    add_guideline,
    check_name,
    read_gold,
    read_guidelines,
    remove_gold,
    write_gold,
    write_settings,
)
from likelier.records import Prompt, to_plain_text
from likelier.web.access import Project, Visitor
from likelier.web.markdown import render_markdown
from likelier.web.room import Room
from likelier.web.rooms import Rooms

PAGE = 10
"""Comparisons that are sent at once."""
MAX_TEXT = 100_000
"""Characters of guidelines, or of prompts that are typed in at once."""
MAX_FILE = 4_000_000
"""Characters of a file that is sent from the browser; `likelier data import` takes larger ones."""
PACKED = (".parquet", ".gz")
"""Suffixes of files that are no texts."""


class Sent(BaseModel):
    """A request of the owner's page."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NewProject(Sent):
    """A project to create."""

    name: str = Field(min_length=1, max_length=MAX_NAME)


class NewGuidelines(Sent):
    """A new version of the guidelines, in Markdown."""

    text: str = Field(max_length=MAX_TEXT)


class NewPrompts(Sent):
    """Prompts that were typed in."""

    texts: list[str] = Field(min_length=1, max_length=1000)


class NewFile(Sent):
    """A file of prompts, responses or judgements, in any format of `data import`."""

    name: str = Field(min_length=1, max_length=200)
    content: str = Field(min_length=1, max_length=MAX_FILE)


class Membership(Sent):
    """Let a person judge in the project, or no longer."""

    annotator: str = Field(max_length=64)
    member: bool


class NewGold(Sent):
    """Make a comparison a gold or training item; with kind null an ordinary one again."""

    comparison_id: str = Field(max_length=64)
    kind: Literal["gold", "training"] | None
    better: str | None = Field(default=None, max_length=64)
    explanation: str = Field(default="", max_length=2000)


def add_project_routes(app: FastAPI, rooms: Rooms) -> None:
    """Add what the owner's page asks and sends about projects; all of it is for admins (`access.ACCESS`)."""
    add_settings_routes(app, rooms)
    add_content_routes(app, rooms)
    add_gold_routes(app, rooms)


def add_settings_routes(app: FastAPI, rooms: Rooms) -> None:
    """Add projects, settings, guidelines and members."""

    @app.get("/owner/project")
    def show(person: Visitor, project: Project = None) -> dict[str, Any]:
        return describe_project(rooms.find(person, project)) | {"projects": rooms.list_for(person)}

    @app.post("/owner/projects")
    def create(new: NewProject, person: Visitor) -> dict[str, Any]:
        if not rooms.all_projects:
            raise HTTPException(422, "this page is about one project; start the server without --project")
        try:
            store = rooms.store.in_project(check_name(new.name))
        except ConfigError as error:
            raise HTTPException(422, str(error).removeprefix("--project ")) from error
        with store.transaction() as writer:
            writer.add_project()
        return {"projects": rooms.list_for(person)}

    @app.post("/owner/settings")
    def change_settings(settings: ProjectSettings, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        with room.store.transaction() as writer:
            write_settings(writer, settings)
        room.load()
        return describe_project(room)

    @app.post("/owner/guidelines")
    def change_guidelines(new: NewGuidelines, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        with room.store.transaction() as writer:
            add_guideline(writer, new.text)
        room.load()
        return describe_project(room)

    @app.post("/owner/members")
    def change_member(membership: Membership, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        if membership.annotator not in {known.annotator for known in rooms.accounts.list_people()}:
            raise HTTPException(422, "no such person")
        rooms.accounts.set_member(membership.annotator, room.store.project, membership.member)
        return {}


def add_content_routes(app: FastAPI, rooms: Rooms) -> None:
    """Add prompts, and files of any format."""

    @app.post("/owner/prompts")
    def add_prompts(new: NewPrompts, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        texts = [text for text in new.texts if text.strip()]
        if sum(map(len, texts)) > MAX_TEXT:
            raise HTTPException(422, f"more than {MAX_TEXT} characters; send a file, or use `likelier data import`")
        stored = room.store.add_prompts(Prompt(text) for text in dict.fromkeys(texts))
        room.load()
        return {"stored": stored} | describe_project(room)

    @app.post("/owner/import")
    def add_file(new: NewFile, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        suffix = PurePosixPath(new.name).suffix[:10].lower()
        if suffix in PACKED:
            raise HTTPException(422, f"{new.name}: the page sends texts only; `likelier data import` reads this file")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"sent{suffix}"
            file.write_text(new.content, encoding="utf-8")
            try:
                counts = import_file(file, None, room.store)
            except (DataError, ConfigError) as error:
                example = f"\n{error.example}" if isinstance(error, UnknownFormatError) else ""
                raise HTTPException(422, str(error).replace(str(file), new.name) + example) from error
        room.load()
        return {"counts": asdict(counts)} | describe_project(room)


def add_gold_routes(app: FastAPI, rooms: Rooms) -> None:
    """Add a list of comparisons, and which of them the owner knows the answer to."""

    @app.get("/owner/comparisons")
    def comparisons(person: Visitor, project: Project = None, start: int = 0) -> dict[str, Any]:
        return list_comparisons(rooms.find(person, project), max(0, start))

    @app.post("/owner/gold")
    def change_gold(item: NewGold, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        if item.kind and room.settings.ask != "comparisons":
            raise HTTPException(
                422, f"gold and training items are comparisons, and people give {room.settings.ask} here"
            )
        comparison = room.comparisons.get(item.comparison_id)
        if comparison is None or item.better not in (None, comparison.response_a, comparison.response_b):
            raise HTTPException(422, "no such comparison, or not one of its responses")
        with room.store.transaction() as writer:
            if item.kind is None:
                remove_gold(writer, item.comparison_id)
            else:
                write_gold(writer, Gold(item.comparison_id, item.kind, item.better, item.explanation))
        room.load()
        return describe_project(room)


def describe_project(room: Room) -> dict[str, Any]:
    """Return what the owner set up in a project."""
    with room.store.reading() as connection:
        versions = read_guidelines(connection, room.store.project)
        gold = read_gold(connection, room.store.project).values()
    newest = versions[-1] if versions else None
    return {
        "project": room.store.project,
        "settings": room.settings.model_dump(),
        "guidelines": newest._asdict() if newest else None,
        "guidelines_html": render_markdown(newest.text) if newest else None,
        "versions": [{"version": each.version, "created_at": each.created_at} for each in versions],
        "prompts": len(room.prompts),
        "responses": len(room.responses),
        "comparisons": len(room.comparisons),
        "gold": sum(item.kind == "gold" for item in gold),
        "training": sum(item.kind == "training" for item in gold),
    }


def list_comparisons(room: Room, start: int) -> dict[str, Any]:
    """Return some comparisons by id, with who wrote the responses and which are gold or training items."""
    with room.store.reading() as connection:
        gold = read_gold(connection, room.store.project)
    ids = sorted(room.comparisons, key=lambda each: (each not in gold, each))
    return {
        "total": len(ids),
        "start": start,
        "comparisons": [
            {
                "comparison_id": each,
                "prompt": to_plain_text(room.prompts[room.comparisons[each].prompt_id]),
                "responses": [
                    {"id": side, "text": room.responses[side].text, "model": room.responses[side].model}
                    for side in (room.comparisons[each].response_a, room.comparisons[each].response_b)
                ],
                "gold": gold[each]._asdict() if each in gold else None,
            }
            for each in ids[start : start + PAGE]
        ],
    }
