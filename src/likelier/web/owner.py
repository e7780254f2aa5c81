"""The owner's page: progress, people and their figures, invitations, exports."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import segno
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from likelier.feedback.accounts import Role
from likelier.feedback.formats import FORMATS, export_file
from likelier.records import to_plain_text
from likelier.web.access import get_person
from likelier.web.pages import Pages
from likelier.web.room import Room
from likelier.web.site import Site

NEWEST = 10
"""Judgements that are shown."""
CHECK_EVERY = 20
"""So many new judgements make the figures of all people worth computing again."""


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


class Figures:
    """The check of the feedback, computed again once there is enough that is new: it reads every judgement."""

    def __init__(self, room: Room) -> None:
        self.room, self.num_judgements = room, -1
        self.check: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return the check as `likelier check --json` does, or what is known of no judgements."""
        from likelier.feedback.check import check as check_feedback  # scipy.stats takes a second of the server's start

        num_judgements = self.room.update_pairing().num_judgements
        if num_judgements and abs(num_judgements - self.num_judgements) >= min(CHECK_EVERY, num_judgements):
            self.check = check_feedback(self.room.store.judged()).to_json()
            self.num_judgements = num_judgements
        return self.check


def add_owner_routes(app: FastAPI, room: Room, site: Site, pages: Pages) -> None:
    """Add the page and what it asks and sends; all of it is for admins (`access.ACCESS`)."""
    figures = Figures(room)

    @app.get("/owner", response_class=HTMLResponse)
    def owner(request: Request) -> Response:
        return HTMLResponse(pages.render(request, "owner.html", person=get_person(request), formats=list_written()))

    @app.get("/owner/state")
    def state() -> dict[str, Any]:
        return describe_state(room, figures.read())

    @app.post("/owner/invitations")
    def invite(invitation: Invitation, request: Request) -> dict[str, Any]:
        known = {person.annotator: person for person in room.accounts.list_people()}
        if invitation.annotator is not None and invitation.annotator not in known:
            raise HTTPException(422, "no such person")
        role = known[invitation.annotator].role if invitation.annotator else invitation.role
        path = f"/?token={room.accounts.invite(role, invitation.annotator)}"
        link = site.origin_for(request.headers["host"]) + path
        return {"path": path, "link": link, "code": draw_code(link)}

    @app.post("/owner/people")
    def change_person(change: Change, request: Request) -> dict[str, Any]:
        if change.annotator == get_person(request).annotator:
            raise HTTPException(422, "you cannot shut yourself out")
        if not room.accounts.set_disabled(change.annotator, change.disabled):
            raise HTTPException(422, "no such person")
        return describe_state(room, figures.read())

    @app.get("/owner/export/{name}", response_class=StreamingResponse)
    def export(name: str) -> Response:
        if name not in list_written():
            raise HTTPException(404, "no such format")
        headers = {"Content-Disposition": f'attachment; filename="{name}.jsonl"'}
        return StreamingResponse(read_export(room, name), media_type="application/x-ndjson", headers=headers)


def list_written() -> list[str]:
    """Return the formats that can be written."""
    return [name for name, each in FORMATS.items() if each.lines]


def draw_code(link: str) -> list[str]:
    """Return the rows of a QR code, 1 for dark."""
    return ["".join("1" if dark else "0" for dark in row) for row in segno.make(link, error="m", micro=False).matrix]


def read_export(room: Room, name: str) -> Iterator[bytes]:
    """Yield an export as `likelier data export` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "export.jsonl"
        export_file(room.store, name, file)
        with file.open("rb") as lines:
            yield from iter(lambda: lines.read(1 << 16), b"")


def describe_state(room: Room, check: dict[str, Any]) -> dict[str, Any]:
    """Return what the owner's page shows."""
    people = room.accounts.list_people()
    names = room.store.names()  # also of those who judged before there were accounts
    figures = {annotator["id"]: annotator for annotator in check.get("annotators", ())}
    pairing = room.update_pairing()
    return {
        "comparisons": len(room.comparisons),
        "judgements": pairing.num_judgements,
        "missing": room.count_missing(),
        "per_comparison": room.per_comparison,
        "alpha": check.get("alpha"),
        "alpha_interval": check.get("alpha_interval"),
        "people": [
            {
                "annotator": person.annotator,
                "name": person.name,
                "role": person.role,
                "disabled": person.disabled,
                "judgements": sum(pairing.times[person.annotator].values()),
                "error_rate": figures.get(person.annotator, {}).get("error_rate"),
                "flags": figures.get(person.annotator, {}).get("flags", []),
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


def describe_prompt(room: Room, comparison_id: str) -> str:
    """Return the beginning of the prompt of a comparison."""
    comparison = room.comparisons.get(comparison_id)
    return to_plain_text(room.prompts[comparison.prompt_id])[:120] if comparison else ""
