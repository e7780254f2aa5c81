"""The owner's page: progress, people and their figures, invitations, exports."""

import tempfile
import zipfile
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import segno
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from likelier.feedback.accounts import Role
from likelier.feedback.formats import FORMATS, export_file
from likelier.records import to_plain_text
from likelier.web.access import Project, Visitor, get_person
from likelier.web.figures import Figures
from likelier.web.pages import Pages
from likelier.web.room import Room
from likelier.web.rooms import Rooms
from likelier.web.site import Site

NEWEST = 10
"""Judgements that are shown."""
MEDIA_TYPES = {
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}
"""Of exports, by the suffix of the file."""


class Invitation(BaseModel):
    """Whom to invite: somebody new, or a person of ours on another device."""

    model_config = ConfigDict(extra="forbid")
    role: Role = "annotator"
    annotator: str | None = Field(default=None, max_length=64)


class Change(BaseModel):
    """Shut a person out, or let them in again."""

    model_config = ConfigDict(extra="forbid")
    annotator: str = Field(max_length=64)
    disabled: bool


def add_owner_routes(app: FastAPI, rooms: Rooms, site: Site, pages: Pages) -> None:
    """Add the page and what it asks and sends; all of it is for admins (`access.ACCESS`)."""
    add_people_routes(app, rooms, site)

    @app.get("/owner", response_class=HTMLResponse)
    def owner(request: Request, project: Project = None) -> Response:
        person = get_person(request)
        values = {"person": person, "projects": rooms.list_for(person), "formats": list_written()}
        room = rooms.find(person, project)
        return HTMLResponse(pages.render(request, "owner.html", project=room.store.project, **values))

    @app.get("/owner/export/{name}", response_class=FileResponse)
    def export(name: str, person: Visitor, project: Project = None) -> Response:
        if name not in list_written():
            raise HTTPException(404, "no such format")
        room = rooms.find(person, project)
        folder = tempfile.TemporaryDirectory()
        try:
            file = write_export(room, name, Path(folder.name))
        except ModuleNotFoundError as error:
            folder.cleanup()
            raise HTTPException(422, f"{name}: the server lacks the package {error.name}") from error
        except BaseException:
            folder.cleanup()
            raise
        title = quote(f"{room.store.project}-{file.name}", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{title}"}
        remove = BackgroundTask(folder.cleanup)
        return FileResponse(file, headers=headers, media_type=MEDIA_TYPES[file.suffix], background=remove)


def add_people_routes(app: FastAPI, rooms: Rooms, site: Site) -> None:
    """Add the figures, and who may come in."""
    figures: dict[Room, Figures] = {}

    def describe(room: Room) -> dict[str, Any]:
        return describe_state(room, figures.setdefault(room, Figures(room)).read())

    @app.get("/owner/state")
    def state(person: Visitor, project: Project = None) -> dict[str, Any]:
        return describe(rooms.find(person, project))

    @app.post("/owner/invitations")
    def invite(invitation: Invitation, request: Request, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        known = {each.annotator: each for each in rooms.accounts.list_people()}
        if invitation.annotator is not None and invitation.annotator not in known:
            raise HTTPException(422, "no such person")
        role = known[invitation.annotator].role if invitation.annotator else invitation.role
        path = f"/?token={rooms.accounts.invite(role, invitation.annotator, room.store.project)}"
        link = site.origin_for(request.headers["host"]) + path
        return {"path": path, "link": link, "code": draw_code(link)}

    @app.post("/owner/people")
    def change_person(change: Change, person: Visitor, project: Project = None) -> dict[str, Any]:
        if change.annotator == person.annotator:
            raise HTTPException(422, "you cannot shut yourself out")
        if not rooms.accounts.set_disabled(change.annotator, change.disabled):
            raise HTTPException(422, "no such person")
        return describe(rooms.find(person, project))


def list_written() -> list[str]:
    """Return the formats that can be written."""
    return [name for name, each in FORMATS.items() if each.lines]


def draw_code(link: str) -> list[str]:
    """Return the rows of a QR code, 1 for dark."""
    return ["".join("1" if dark else "0" for dark in row) for row in segno.make(link, error="m", micro=False).matrix]


def write_export(room: Room, name: str, folder: Path) -> Path:
    """Write an export as `likelier data export` does, and return its file: with media files, an archive of all."""
    file = folder / f"{name}{FORMATS[name].suffix}"
    with room.store.snapshot() as copy:
        export_file(copy, name, file)
    parts = sorted(each for each in folder.rglob("*") if each.is_file())
    if parts == [file]:
        return file
    archive = folder / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for part in parts:
            packed.write(part, part.relative_to(folder))
    return archive


def describe_state(room: Room, values: dict[str, Any]) -> dict[str, Any]:
    """Return what the owner's page shows, with the figures of a while ago (`Figures`)."""
    people, check = room.accounts.list_people(), values.get("check", {})
    names = room.store.names()  # also of those who judged before there were accounts
    figures = {annotator["id"]: annotator for annotator in check.get("annotators", ())}
    pairing = room.update_pairing()
    return {
        "comparisons": len(room.comparisons),
        "judgements": pairing.num_judgements,
        "missing": room.count_missing(),
        "per_comparison": room.per_comparison,
        "strategy": describe_strategy(room),
        "as_of": values.get("as_of"),
        "win_rates": values.get("win_rates"),
        "throughput": values.get("throughput", []),
        **describe_agreement(check),
        "people": [
            {
                "annotator": person.annotator,
                "name": person.name,
                "role": person.role,
                "disabled": person.disabled,
                "member": room.store.project in person.projects,
                "judgements": len(pairing.own[person.annotator]),
                "error_rate": figures.get(person.annotator, {}).get("error_rate"),
                "flags": list_flags(figures.get(person.annotator, {})),
            }
            for person in people
        ],
        "newest": [
            {
                "annotator": names.get(judgement.annotator) or judgement.annotator,
                "choice": "both bad" if judgement.both_bad else judgement.choice,
                "prompt": describe_prompt(room, judgement.comparison_id),
                "created_at": judgement.created_at,
            }
            for judgement in room.store.newest_judgements(NEWEST)
        ],
    }


def describe_agreement(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return Krippendorff's alpha with its interval: of comparisons, or else of the most ratings of one scale."""
    alpha, interval = check.get("alpha"), check.get("alpha_interval")
    scales = check.get("rating_agreement", ())
    if alpha is None and scales:
        most = max(scales, key=itemgetter("responses"))
        alpha, interval = most["alpha_ordinal"], most["alpha_ordinal_interval"]
    return {"alpha": alpha, "alpha_interval": interval}


def list_flags(person: Mapping[str, Any]) -> list[str]:
    """Return a person's flags by the check, those by ratings too, each once."""
    return list(dict.fromkeys([*person.get("flags", ()), *person.get("rating_flags", ())]))


def describe_strategy(room: Room) -> dict[str, Any] | None:
    """Return the strategy that chooses new comparisons, and the share drawn at random; None: all are."""
    priorities = room.pairing.priorities
    return {"name": room.strategy, "floor": priorities.floor} if room.strategy and priorities else None


def describe_prompt(room: Room, comparison_id: str) -> str:
    """Return the beginning of the prompt of a comparison."""
    comparison = room.comparisons.get(comparison_id)
    return to_plain_text(room.prompts[comparison.prompt_id])[:120] if comparison else ""
