"""The judging page: one prompt, two responses, three keys; every answer is on disk before it is acknowledged."""

import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field

from likelier.feedback.pairing import REPEAT_SHARE, Assignment, Pairing
from likelier.feedback.store import Store
from likelier.records import Judgement, Media, Text, to_plain_text
from likelier.web.guards import add_guards
from likelier.web.guesses import Guesses

Guesser = Callable[[Text, str, str], float]
"""(prompt, left, right) to the probability that the left response wins."""

STATIC = {"judge.js": "text/javascript", "judge.css": "text/css", "icon.svg": "image/svg+xml"}
"""Files that may be asked for, by their exact names."""
COOKIE = "likelier_session"


class Name(BaseModel):
    """A person's name; stored apart from their judgements."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    name: str = Field(min_length=1, max_length=100)


class Answer(BaseModel):
    """One judgement as the page sends it; a request repeated with the same `key` changes nothing."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(pattern=r"^[0-9a-f-]{8,64}$")
    comparison_id: str = Field(max_length=64)
    left: str = Field(max_length=64)
    right: str = Field(max_length=64)
    choice: Literal["left", "right", "tie"]
    duration_seconds: float = Field(ge=0, le=86_400)


@dataclass
class Session:
    """One person at the page."""

    annotator: str = ""
    """Their pseudonym; empty until they have given a name."""
    guesses: Guesses = field(default_factory=Guesses)


class Room:
    """State that the routes share: the store, the open sessions, and how many judgements are wanted.

    `announce(token)` is called with each link's token, a new one as soon as the last was used; `when_finished` is
    called once there are `wanted` judgements. With `only`, ids of comparisons, nothing else is asked and nobody is
    asked one twice; `wanted` is then how many judgements these lack until `per_comparison` different people have
    judged each.
    """

    def __init__(
        self,
        store: Store,
        guesser: Guesser | None,
        wanted: int | None,
        per_comparison: int | None,
        only: Collection[str] | None = None,
    ) -> None:
        self.store, self.guesser, self.wanted, self.only = store, guesser, wanted, only
        self.token = secrets.token_urlsafe(24)
        self.announce: Callable[[str], object] = lambda token: None
        self.when_finished: Callable[[], object] = lambda: None
        self.sessions: dict[str, Session] = {}
        self.token_lock = threading.Lock()
        self.prompts = {prompt.id: prompt.text for prompt in store.prompts()}
        self.responses = {response.id: response for response in store.responses()}
        comparisons = {comparison.id: comparison for comparison in store.comparisons()}
        self.comparisons = comparisons if only is None else {each: comparisons[each] for each in only}
        self.media = self.find_media()
        self.per_comparison, self.pairing_lock = per_comparison, threading.Lock()
        self.start_pairing()
        self.num_before = self.update_pairing().num_judgements
        if only is not None:
            self.wanted = self.count_missing()

    def find_media(self) -> dict[str, Media]:
        """Return the media files that this page may show, by hash."""
        shown = [pair.response_a for pair in self.comparisons.values()]
        shown += [pair.response_b for pair in self.comparisons.values()]
        return {media.sha256: media for each in shown if (media := self.responses[each].media)}

    def open_session(self, token: str) -> str | None:
        """Trade the link's token, which works once, for the cookie of a new session; None for a wrong token."""
        with self.token_lock:
            if not secrets.compare_digest(token.encode(), self.token.encode()):
                return None
            self.token, cookie = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
            self.sessions[cookie] = Session()
            self.announce(self.token)
            return cookie

    def start_pairing(self) -> None:
        """Begin to choose comparisons as if there were no judgement yet."""
        repeat_share = REPEAT_SHARE if self.only is None else 0.0
        self.pairing = Pairing(
            list(self.comparisons.values()), judgements_per_comparison=self.per_comparison, repeat_share=repeat_share
        )
        self.last_number = 0

    def update_pairing(self) -> Pairing:
        """Count the judgements that have come since the last call, ours and those of other processes."""
        with self.pairing_lock:
            new, num_stored = self.store.shown_after(self.last_number)
            if self.pairing.num_judgements + len(new) != num_stored:
                # PostgreSQL gives out a number before the judgement is stored, so that a lower one may come later.
                self.start_pairing()
                new, _ = self.store.shown_after(0)
            for shown in new:
                self.pairing.add(shown)
                self.last_number = shown.number
            return self.pairing

    def count_judged(self) -> int:
        """Count the judgements since the page was opened; with `only`, how many of the wanted ones there are."""
        if self.only is not None and self.wanted is not None:
            return self.wanted - self.count_missing()
        return self.update_pairing().num_judgements - self.num_before

    def count_missing(self) -> int:
        """Count the judgements that the comparisons of this page lack."""
        return self.update_pairing().count_missing(self.per_comparison or 1)

    def next_question(self, session: Session) -> dict[str, Any]:
        """Return the next comparison for a person, and how far they are; `done` if there is none."""
        num_judged, guesses = self.count_judged(), session.guesses
        progress = {
            "judged": num_judged,
            "wanted": self.wanted,
            "guesses": guesses.summary(),
            "hits": list(guesses.hits),
        }
        assignment = self.choose(session) if self.wanted is None or num_judged < self.wanted else None
        if assignment is None:
            return {"done": True, "progress": progress}
        ids = {"comparison_id": assignment.comparison.id, "left": assignment.left, "right": assignment.right}
        return {"done": False, "shown": self.show(assignment, guesses), "ids": ids, "progress": progress}

    def choose(self, session: Session) -> Assignment | None:
        """Return the next comparison for a session."""
        pairing = self.update_pairing()
        with self.pairing_lock:
            return pairing.next_comparison(session.annotator)

    def show(self, assignment: Assignment, guesses: Guesses) -> dict[str, Any]:
        """Return texts and addresses of media files, never who made them; let the guesser guess."""
        prompt = self.prompts[assignment.comparison.prompt_id]
        sides = {"left": self.responses[assignment.left], "right": self.responses[assignment.right]}
        media = {
            side: {"url": f"/media/{response.media.sha256}", "kind": response.media.kind}
            for side, response in sides.items()
            if response.media
        }
        texts = {side: response.text for side, response in sides.items()}
        if self.guesser is not None and not media:
            guesses.add(assignment.comparison.id, assignment.left, self.guesser(prompt, texts["left"], texts["right"]))
        return {"prompt": to_plain_text(prompt), **texts, "media": media}

    def store_answer(self, session: Session, answer: Answer) -> Judgement:
        """Store one judgement; returns the one stored under its key. 422: ids that do not belong together."""
        comparison = self.comparisons.get(answer.comparison_id)
        if comparison is None or {answer.left, answer.right} != {comparison.response_a, comparison.response_b}:
            raise HTTPException(422, "these responses are not the two sides of this comparison")
        stored = self.store.add_judgement(
            Judgement(
                comparison_id=answer.comparison_id,
                annotator=session.annotator,
                left=answer.left,
                right=answer.right,
                choice=answer.choice,
                duration_seconds=answer.duration_seconds,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                key=f"{session.annotator}:{answer.key}",
            )
        )
        if self.wanted is not None and self.count_judged() >= self.wanted:
            self.when_finished()
        return stored


def create_app(
    store: Store,
    guesser: Guesser | None = None,
    wanted: int | None = None,
    per_comparison: int | None = None,
    only: Collection[str] | None = None,
) -> FastAPI:
    """Make the page for a store. `app.state.room.token` opens it, once: `/?token=...`.

    `guesser` lets a model guess before each answer; with `wanted` the page ends after so many judgements; with `only`
    it is about these comparisons and ends when each has `per_comparison` judgements.
    """
    room = Room(store, guesser, wanted, per_comparison, only)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.room = room
    add_guards(app)
    add_files(app, room)
    templates = Environment(loader=PackageLoader("likelier.web"), autoescape=True)

    @app.get("/")
    def show_page(request: Request, token: str = "") -> Response:
        session = room.sessions.get(request.cookies.get(COOKIE, ""))
        if session is None:
            cookie = room.open_session(token)
            if cookie is None:
                return HTMLResponse(templates.get_template("closed.html").render(), 403)
            reply = RedirectResponse("/", 303)
            reply.set_cookie(COOKIE, cookie, httponly=True, samesite="lax")
            return reply
        if token:  # the address bar forgets it
            return RedirectResponse("/", 303)
        page = templates.get_template("judge.html")
        return HTMLResponse(page.render(named=bool(session.annotator), guessing=guesser is not None))

    @app.post("/name")
    def name(given: Name, session: Annotated[Session, Depends(get_session)]) -> dict[str, Any]:
        session.annotator = store.add_person(given.name)
        return room.next_question(session)

    @app.get("/question")
    def question(session: Annotated[Session, Depends(get_annotator)]) -> dict[str, Any]:
        return room.next_question(session)

    @app.post("/judgements")
    def judge(answer: Answer, session: Annotated[Session, Depends(get_annotator)]) -> dict[str, Any]:
        guess = session.guesses.score(room.store_answer(session, answer))
        return {"guess": guess._asdict() if guess else None, **room.next_question(session)}

    return app


def add_files(app: FastAPI, room: Room) -> None:
    """Serve our own files and the media files of the room's comparisons: both by tables of known names."""

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "no such file")
        return Response((files("likelier.web") / "static" / name).read_bytes(), media_type=STATIC[name])

    @app.get("/media/{sha256}")
    def media(sha256: str, request: Request, session: Annotated[Session, Depends(get_session)]) -> Response:
        record = room.media.get(sha256)
        if record is None:
            raise HTTPException(404, "no such file")
        if "," in request.headers.get("range", ""):  # players ask for one range; many cost more than they bring
            raise HTTPException(416, "ask for one range")
        return FileResponse(room.store.media_folder.find(record), media_type=record.kind)


def get_session(request: Request) -> Session:
    """Return the session of a request. 403: it has none."""
    session: Session | None = request.app.state.room.sessions.get(request.cookies.get(COOKIE, ""))
    if session is None:
        raise HTTPException(403, "open the link that the server printed")
    return session


def get_annotator(session: Annotated[Session, Depends(get_session)]) -> Session:
    """Return the session of someone who has given a name. 403: they have not."""
    if not session.annotator:
        raise HTTPException(403, "give a name first")
    return session
