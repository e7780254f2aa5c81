"""The judging page: one prompt, two responses, a few keys; every answer is on disk before it is acknowledged."""

import time
from collections import deque
from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.middleware.authentication import AuthenticationMiddleware

from likelier.feedback.accounts import ABSOLUTE_SECONDS, Invitation, InvitationError, Person
from likelier.feedback.questions import question_id
from likelier.feedback.store import Store, Superseded
from likelier.feedback.writer import A
from likelier.web.access import PAGES, NoEntry, Project, SessionBackend, Visitor, check_access, find_person
from likelier.web.answer_route import add_answer_route
from likelier.web.answers import Answer, RankingAnswer, RatingAnswer, Skipped
from likelier.web.converse import MAX_CHARACTERS, add_conversation_routes
from likelier.web.guards import Failures, Pace, add_guards, error_response
from likelier.web.ids import UnfitAnswer
from likelier.web.languages import COOKIE, COOKIE_SECONDS, LANGUAGES
from likelier.web.live import Live
from likelier.web.markdown import render_all
from likelier.web.owner import add_owner_routes
from likelier.web.pages import Pages
from likelier.web.projects import add_project_routes
from likelier.web.review import add_review_routes
from likelier.web.room import Guesser, Room
from likelier.web.rooms import Rooms
from likelier.web.schema import add_schema
from likelier.web.site import Site

STATIC = {
    "judge.js": "text/javascript",
    "outbox.js": "text/javascript",
    "join.js": "text/javascript",
    "words.js": "text/javascript",
    **dict.fromkeys(("comparing.js", "rating.js", "ranking.js"), "text/javascript"),
    **dict.fromkeys(("content.js", "guidelines.js", "lesson.js", "progress.js"), "text/javascript"),
    **dict.fromkeys(("reasons.js", "requests.js"), "text/javascript"),
    "owner.js": "text/javascript",
    "projects.js": "text/javascript",
    "review.js": "text/javascript",
    "ask.js": "text/javascript",
    "controls.js": "text/javascript",
    "converse.js": "text/javascript",
    "converse.css": "text/css",
    "judge.css": "text/css",
    "questions.css": "text/css",
    "icon.svg": "image/svg+xml",
}
"""Files that may be asked for, by their exact names."""
MEDIA_HEADERS = {"Cache-Control": "private, max-age=3600, immutable", "Vary": "Cookie"}
"""A file under its hash never changes: the browser has it ahead of its question, for this session, and not for long."""
MEDIA_PER_SECOND, MEDIA_AT_ONCE = 20.0, 40
"""How many media files, or parts of them, one person may have; nine of a ranking and nine of the next come at once."""
INVITATION_COOKIE_SECONDS = 3600.0
"""How long a browser keeps a link that was opened, for a person who thinks about a name."""
MAX_FAILED_LINKS, LINK_SECONDS = 20, 60.0
"""So many wrong links are tried in so many seconds before all are refused for a while."""
Since = Annotated[float, Query(ge=0, le=1e11)]
"""A time in seconds since 1970."""


class Name(BaseModel):
    """A person's name; stored apart from their judgements."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    name: str = Field(default="", max_length=100)
    """Empty for one's own account."""


def create_app(
    store: Store,
    guesser: Guesser | None = None,
    wanted: int | None = None,
    per_comparison: int | None = None,
    only: Collection[str] | None = None,
    site: Site | None = None,
    all_projects: bool = False,
    live: Live | None = None,
) -> FastAPI:
    """Make the page for a store's project, or for all of its database. `app.state.room.token` opens it, once:
    `/?token=...`.

    `guesser` lets a model guess before each answer; with `wanted` the page ends after so many judgements; with `only`
    it is about these comparisons and ends when each has `per_comparison` judgements. `live` policies answer
    conversations, and prompts while a `LiveStock` runs.
    """
    rooms = Rooms(store, guesser, wanted, per_comparison, only, all_projects, live)
    site = site or Site()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(check_access)])
    app.state.rooms, app.state.room = rooms, rooms.first
    failures = Failures()
    app.add_middleware(
        AuthenticationMiddleware,
        backend=SessionBackend(rooms.accounts, site.cookie),
        on_error=lambda request, error: failures.answer(error),
    )
    add_guards(app, site, failures)
    pages = Pages()
    add_page(app, rooms, site, pages)
    add_refusals(app, rooms, pages)
    add_doors(app, rooms, site)
    add_judging(app, rooms)
    add_conversation_routes(app, rooms)
    add_files(app, rooms)
    add_review_routes(app, rooms, pages)
    add_owner_routes(app, rooms, site, pages)
    add_project_routes(app, rooms)
    add_schema(app, site)
    return app


def add_page(app: FastAPI, rooms: Rooms, site: Site, pages: Pages) -> None:
    """Add the page itself, and what a link and a choice of language come to."""

    def show_door(request: Request, person: Person | None, invitation: Invitation | None) -> Response:
        """Show what a link that was opened leads to: a name to give, or one's own account."""
        is_open = invitation is not None and rooms.opens(invitation)
        known = person.name if person else invitation.name if invitation else ""
        values = {"guessing": rooms.first.guesser is not None, "ask": rooms.first.settings.ask, "known": known}
        values["elsewhere"] = invitation.project if invitation and not is_open else ""
        page = pages.render(request, "join.html" if is_open else "closed.html", **values)
        return HTMLResponse(page, 200 if is_open else 403)

    @app.get("/", response_class=HTMLResponse)
    def show_page(
        request: Request,
        token: str = "",
        language: str = "",
        to: Literal["", "owner", "review"] = "",
        project: Project = None,
    ) -> Response:
        person = find_person(request)
        if language in LANGUAGES:
            query = f"?{urlencode({'project': project})}" if project else ""
            reply = RedirectResponse(f"/{to}{query}", 303)
            site.set_cookie(reply, COOKIE, language, COOKIE_SECONDS)
            return reply
        if token:  # the address bar forgets it; it is used by the name's POST, not by a chat program that looks at it
            reply = RedirectResponse("/", 303)
            invitation = rooms.accounts.find_invitation(token) if person else None
            if person is None or (invitation and invitation.is_new_to(person)):
                known = token[:100].encode("ascii", "ignore").decode()  # a header has no other letters; ours have none
                site.set_cookie(reply, site.invitation_cookie, known, INVITATION_COOKIE_SECONDS)
            return reply
        opened = request.cookies.get(site.invitation_cookie, "")
        invitation = rooms.accounts.find_invitation(opened) if opened else None
        if person is None or (invitation and invitation.is_new_to(person)):
            return show_door(request, person, invitation)
        projects = rooms.list_for(person)
        if not projects or (project and project not in projects):
            return HTMLResponse(pages.render(request, "elsewhere.html", person=person, projects=projects), 403)
        room = rooms.find(person, project)
        values = {"person": person, "projects": projects, "project": room.store.project, "settings": room.settings}
        if room.settings.ask == "conversations":
            values |= {"has_model": rooms.live is not None, "max_characters": MAX_CHARACTERS}
            return HTMLResponse(pages.render(request, "converse.html", **values))
        return HTMLResponse(pages.render(request, "judge.html", guessing=room.guesser is not None, **values))


def add_refusals(app: FastAPI, rooms: Rooms, pages: Pages) -> None:
    """Say in words who may not enter a page, and where they may go; to scripts in the shape of all errors."""

    @app.exception_handler(NoEntry)
    def refuse(request: Request, error: NoEntry) -> Response:
        person = find_person(request)
        if request.method != "GET" or request.url.path not in PAGES:
            return error_response(error.status_code, error.detail)
        name = "closed.html" if person is None else "elsewhere.html" if error.status_code == 404 else "role.html"
        projects = rooms.list_for(person) if person else []
        page = pages.render(request, name, person=person, projects=projects, project="", elsewhere="")
        return HTMLResponse(page, error.status_code)


def add_doors(app: FastAPI, rooms: Rooms, site: Site) -> None:
    """Add coming in, by an invitation and a name, and going out."""
    failed: deque[float] = deque(maxlen=MAX_FAILED_LINKS)

    @app.post("/name")
    def name(given: Name, request: Request) -> Response:
        if len(failed) == MAX_FAILED_LINKS and time.monotonic() - failed[0] < LINK_SECONDS:
            raise HTTPException(429, "too many wrong links; try again in a minute")
        try:
            session = rooms.let_in(request.cookies.get(site.invitation_cookie, ""), given.name, find_person(request))
        except InvitationError as error:
            failed.append(time.monotonic())
            raise HTTPException(403, str(error)) from error
        if find_person(request):  # whom a link lets into one more project: the new session replaces theirs
            rooms.accounts.log_out(request.cookies[site.cookie])
        person = rooms.accounts.find(session)
        reply = JSONResponse(rooms.find(person, None).next_question(person) if person else {})
        site.set_cookie(reply, site.cookie, session, ABSOLUTE_SECONDS)
        site.delete_cookie(reply, site.invitation_cookie)
        return reply

    @app.post("/logout")
    def log_out(request: Request) -> Response:
        rooms.accounts.log_out(request.cookies[site.cookie])
        reply = JSONResponse({})
        site.delete_cookie(reply, site.cookie)
        return reply


def add_judging(app: FastAPI, rooms: Rooms) -> None:
    """Add what the page asks and sends."""

    @app.get("/question")
    def question(person: Visitor, project: Project = None) -> Response:
        return JSONResponse(rooms.find(person, project).next_question(person))

    @add_answer_route(app, "/judgements")
    def judge(answer: Answer, person: Visitor, project: Project = None) -> Response:
        room = rooms.find(person, project)
        stored = add_answer(room, person, answer.ticket, lambda: answer.to_record(person.annotator, room.ids))
        guess, lesson = room.guesses[person.annotator].score(stored), room.make_lesson(stored)
        reply = {"guess": guess._asdict() if guess else None, **room.next_question(person)}
        return JSONResponse(reply | ({"lesson": lesson} if lesson else {}))

    @add_answer_route(app, "/ratings")
    def rate(answer: RatingAnswer, person: Visitor, project: Project = None) -> Response:
        room = rooms.find(person, project)
        add_answer(room, person, answer.ticket, lambda: answer.to_record(person.annotator, room.ids))
        return JSONResponse(room.next_question(person))

    @add_answer_route(app, "/rankings")
    def rank(answer: RankingAnswer, person: Visitor, project: Project = None) -> Response:
        room = rooms.find(person, project)
        add_answer(room, person, answer.ticket, lambda: answer.to_record(person.annotator, room.ids, room.responses))
        return JSONResponse(room.next_question(person))

    @add_answer_route(app, "/skip")
    def skip(skipped: Skipped, person: Visitor, project: Project = None) -> Response:
        room = rooms.find(person, project)
        room.skip(person, skipped.comparison_id or skipped.question_id or "")
        return JSONResponse({"guess": None, **room.next_question(person)})

    @app.get("/today")
    def today(person: Visitor, since: Since, project: Project = None) -> dict[str, int]:
        return {"count": rooms.find(person, project).count_since(person, since)}

    @app.get("/guidelines")
    def guidelines(person: Visitor, project: Project = None) -> dict[str, Any]:
        newest = rooms.find(person, project).guideline
        return {"version": newest.version, "html": render_all(newest.text)} if newest else {"version": None}


def add_answer(room: Room, person: Person, ticket: str | None, to_record: Callable[[], A]) -> A:
    """Store an answer to what this person was given. HTTPException: it does not fit, or was superseded already."""
    try:
        record = to_record()
        return room.add_answer(person, record, room.check_given(person, question_id(record), ticket))
    except UnfitAnswer as error:
        raise HTTPException(422, str(error)) from error
    except Superseded as error:
        raise HTTPException(409, str(error)) from error


def add_files(app: FastAPI, rooms: Rooms) -> None:
    """Serve our own files and the media files of a project's comparisons: both by tables of known names."""

    @app.get("/static/{name}", response_class=Response)
    def static(name: str) -> Response:
        if name in (f"{language}.json" for language in LANGUAGES):
            return Response((files("likelier.web.languages") / name).read_bytes(), media_type="application/json")
        if name not in STATIC:
            raise HTTPException(404, "no such file")
        return Response((files("likelier.web") / "static" / name).read_bytes(), media_type=STATIC[name])

    pace = Pace(MEDIA_PER_SECOND, MEDIA_AT_ONCE)

    @app.get("/media/{sha256}", response_class=Response)
    async def media(sha256: str, request: Request, person: Visitor, project: Project = None) -> Response:
        await pace.wait(person.annotator)
        return await run_in_threadpool(find_media, sha256, request, person, project)

    def find_media(sha256: str, request: Request, person: Person, project: str | None) -> Response:
        room = rooms.find(person, project)
        record = room.media.get(sha256)
        if record is None:
            raise HTTPException(404, "no such file")
        if "," in request.headers.get("range", ""):  # players ask for one range; many cost more than they bring
            raise HTTPException(416, "ask for one range")
        return FileResponse(room.store.media_folder.find(record), headers=MEDIA_HEADERS, media_type=record.kind)
