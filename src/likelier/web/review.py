"""The reviewers' page: comparisons on which people disagree, for a decision."""

from collections import Counter
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from likelier.feedback.disagreements import find_disagreements
from likelier.records import Judgement
from likelier.web.access import KEY, Project, Visitor, get_person
from likelier.web.ids import PageIds, UnfitAnswer
from likelier.web.pages import Pages
from likelier.web.room import Room
from likelier.web.rooms import Rooms

SHOWN = 20
"""Disagreements that are sent at once."""


class Decision(BaseModel):
    """A reviewer's answer to a comparison on which people disagree."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(pattern=KEY)
    comparison_id: str = Field(max_length=64)
    left: str = Field(max_length=64)
    right: str = Field(max_length=64)
    choice: Literal["left", "right", "tie"]
    duration_seconds: float = Field(default=0.0, ge=0, le=86_400)

    def to_record(self, annotator: str, ids: PageIds) -> Judgement:
        """Return the decision as a judgement. UnknownId: not of the page's ids."""
        subject: dict[str, Any] = {name: ids.find(getattr(self, name)) for name in ("comparison_id", "left", "right")}
        given = self.model_dump(include={"key", "choice", "duration_seconds"})
        return Judgement(annotator=annotator, adjudicates=True, **subject, **given)


def add_review_routes(app: FastAPI, rooms: Rooms, pages: Pages) -> None:
    """Add the page and what it asks and sends; all of it is for reviewers (`access.ACCESS`)."""

    @app.get("/review")
    def review(request: Request, project: Project = None) -> Response:
        person = get_person(request)
        room = rooms.find(person, project)
        values = {"person": person, "projects": rooms.list_for(person), "project": room.store.project}
        return HTMLResponse(pages.render(request, "review.html", **values))

    @app.get("/review/state")
    def state(person: Visitor, project: Project = None) -> dict[str, Any]:
        return {"disagreements": describe_disagreements(rooms.find(person, project))}

    @app.post("/review")
    def decide(decision: Decision, person: Visitor, project: Project = None) -> dict[str, Any]:
        room = rooms.find(person, project)
        try:
            room.store_answer(person, decision.to_record(person.annotator, room.ids))
        except UnfitAnswer as error:
            raise HTTPException(422, str(error)) from error
        return {"disagreements": describe_disagreements(room)}


def describe_disagreements(room: Room) -> list[dict[str, Any]]:
    """Return comparisons on which people disagree with the number of votes for each side, never whose."""
    with room.store.reading() as connection:
        ids = find_disagreements(connection, room.store.project, SHOWN)
    votes: dict[str, Counter[str]] = {each: Counter() for each in ids}
    for judgement in room.store.judgements_of(ids):
        votes[judgement.comparison_id][judgement.preferred or "tie"] += 1
    return [describe_disagreement(room, each, votes[each]) for each in ids if each in room.comparisons]


def describe_disagreement(room: Room, comparison_id: str, votes: Counter[str]) -> dict[str, Any]:
    """Return a comparison as it is shown, with its votes by side."""
    comparison = room.comparisons[comparison_id]
    left, right = comparison.response_a, comparison.response_b
    sides = {"left": votes[left], "right": votes[right], "tie": votes["tie"]}
    return room.describe(comparison, left, right) | {"votes": sides}
