"""The judging page: one prompt, two responses, three keys; every answer is on disk before it is acknowledged."""

import secrets
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field

from likelier.errors import LikelierError
from likelier.feedback.pairing import REPEAT_SHARE, next_comparison, num_missing
from likelier.feedback.store import Store
from likelier.records import Judgement, Text, plain
from likelier.web.guesses import Guesses

Guesser = Callable[[Text, str, str], float]
"""(prompt, left, right) to the probability that the left response wins."""

STATIC = {"judge.js": "text/javascript", "judge.css": "text/css", "icon.svg": "image/svg+xml"}
"""Files that may be asked for, by their exact names."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names under which the page may be asked for: any other means that a foreign site points here."""
MAX_BODY_BYTES = 20_000
COOKIE = "likelier_session"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Name(BaseModel):
    """What a person calls themselves; stored apart from what they answer."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    name: str = Field(min_length=1, max_length=100)


class Answer(BaseModel):
    """One judgement as the page sends it; `key` makes a repeated request harmless."""

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
    guesses: Guesses = field(default_factory=Guesses)


class Room:
    """What the routes share: the store, who is here, and when there are enough judgements.

    `announce(token)` is told each link's token, a new one as soon as the last was used; `when_finished` is called once
    there are `wanted` judgements. With `only`, ids of comparisons, nothing else is asked and nobody is asked one twice;
    `wanted` is then what these still lack of `per_comparison` judgements each, by different people.
    """

    def __init__(
        self,
        store: Store,
        guesser: Guesser | None,
        wanted: int | None,
        per_comparison: int | None,
        only: Collection[str] | None = None,
    ) -> None:
        self.store, self.guesser, self.wanted, self.per_comparison = store, guesser, wanted, per_comparison
        self.token = secrets.token_urlsafe(24)
        self.announce: Callable[[str], object] = lambda token: None
        self.when_finished: Callable[[], object] = lambda: None
        self.sessions: dict[str, Session] = {}
        self.door = threading.Lock()
        self.prompts = {prompt.id: prompt.text for prompt in store.prompts()}
        self.texts = {response.id: response.text for response in store.responses()}
        known = {comparison.id: comparison for comparison in store.comparisons()}
        self.comparisons = known if only is None else {each: known[each] for each in only}
        self.repeat_share = REPEAT_SHARE if only is None else 0.0
        self.only, self.before = only, store.counts()["judgements"]
        if only is not None:
            self.wanted = self.missing()

    def enter(self, token: str) -> str | None:
        """Trade the link's token, which works once, for a session."""
        with self.door:
            if not secrets.compare_digest(token.encode(), self.token.encode()):
                return None
            self.token, identity = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
            self.sessions[identity] = Session()
            self.announce(self.token)
            return identity

    def judged(self) -> int:
        """Judgements since the page was opened; with a choice of comparisons, those that they lacked."""
        if self.only is not None and self.wanted is not None:
            return self.wanted - self.missing()
        return self.store.counts()["judgements"] - self.before

    def missing(self) -> int:
        """Answers that the comparisons of this page lack."""
        return num_missing(self.comparisons, self.store.judgements(), self.per_comparison or 1)

    def question(self, session: Session) -> dict[str, Any]:
        """What the page shows next: ids and texts, never who wrote them."""
        judged, guesses = self.judged(), session.guesses
        progress = {"judged": judged, "wanted": self.wanted, "guesses": guesses.sentence(), "hits": list(guesses.hits)}
        judgements = self.store.judgements()
        ask = None
        if self.wanted is None or judged < self.wanted:
            ask = next_comparison(
                list(self.comparisons.values()),
                judgements,
                session.annotator,
                judgements_per_comparison=self.per_comparison,
                repeat_share=self.repeat_share,
            )
        if ask is None:
            return {"done": True, "progress": progress}
        prompt, left, right = self.prompts[ask.comparison.prompt_id], self.texts[ask.left], self.texts[ask.right]
        if self.guesser is not None:
            guesses.make(ask.comparison.id, ask.left, self.guesser(prompt, left, right))
        shown = {"prompt": plain(prompt), "left": left, "right": right}
        ids = {"comparison_id": ask.comparison.id, "left": ask.left, "right": ask.right}
        return {"done": False, "shown": shown, "ids": ids, "progress": progress}

    def store_answer(self, session: Session, answer: Answer) -> Judgement:
        """Write one judgement; returns what is on disk under its key. 422: ids that do not belong together."""
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
        if self.wanted is not None and self.judged() >= self.wanted:
            self.when_finished()
        return stored


def create_app(
    store: Store,
    guesser: Guesser | None = None,
    wanted: int | None = None,
    per_comparison: int | None = None,
    only: Collection[str] | None = None,
) -> FastAPI:
    """The page over a store. `app.state.room.token` opens it, once: `/?token=...`.

    `guesser` lets a model guess before each answer; with `wanted` the page ends after so many judgements; with `only`
    it is about these comparisons and ends when each has `per_comparison` judgements.
    """
    room = Room(store, guesser, wanted, per_comparison, only)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.room = room
    add_guards(app)
    templates = Environment(loader=PackageLoader("likelier.web"), autoescape=True)

    @app.get("/")
    def page(request: Request, token: str = "") -> Response:
        session = room.sessions.get(request.cookies.get(COOKIE, ""))
        if session is None:
            identity = room.enter(token)
            if identity is None:
                return HTMLResponse(templates.get_template("closed.html").render(), 403)
            reply = RedirectResponse("/", 303)
            reply.set_cookie(COOKIE, identity, httponly=True, samesite="lax")
            return reply
        if token:  # the address bar forgets it
            return RedirectResponse("/", 303)
        about = {"named": bool(session.annotator), "guessing": guesser is not None}
        return HTMLResponse(templates.get_template("judge.html").render(about))

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "no such file")
        return Response((files("likelier.web") / "static" / name).read_bytes(), media_type=STATIC[name])

    @app.post("/name")
    def name(given: Name, session: Annotated[Session, Depends(session_of)]) -> dict[str, Any]:
        session.annotator = store.add_person(given.name)
        return room.question(session)

    @app.get("/question")
    def question(session: Annotated[Session, Depends(annotator_of)]) -> dict[str, Any]:
        return room.question(session)

    @app.post("/judgements")
    def judge(answer: Answer, session: Annotated[Session, Depends(annotator_of)]) -> dict[str, Any]:
        guess = session.guesses.settle(room.store_answer(session, answer))
        return {"guess": guess._asdict() if guess else None, **room.question(session)}

    return app


def session_of(request: Request) -> Session:
    """Who asks. 403: nobody who came by the link."""
    session: Session | None = request.app.state.room.sessions.get(request.cookies.get(COOKIE, ""))
    if session is None:
        raise HTTPException(403, "open the link that the server printed")
    return session


def annotator_of(session: Annotated[Session, Depends(session_of)]) -> Session:
    """Who asks, with a name. 403: without one."""
    if not session.annotator:
        raise HTTPException(403, "give a name first")
    return session


def add_guards(app: FastAPI) -> None:
    """Refuse what our page would not send; one shape for every error, and the headers on every answer."""

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = refusal(request) or await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return problem(422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")

    @app.exception_handler(LikelierError)
    async def not_stored(request: Request, error: LikelierError) -> Response:
        return problem(503, str(error))

    @app.exception_handler(Exception)
    async def our_mistake(request: Request, error: Exception) -> Response:
        return problem(500, "the server made a mistake; it is told on the terminal")


def refusal(request: Request) -> Response | None:
    """Requests that a page of ours would not make: a foreign host or origin, a wrong type, a body too large."""
    host, length = request.headers.get("host", ""), request.headers.get("content-length", "")
    if host_name(host) not in LOOPBACK:
        return problem(403, "unknown host name")
    if request.method == "POST":
        if request.headers.get("origin") != f"http://{host}":
            return problem(403, "requests come from this page only")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return problem(415, "send application/json")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return problem(413, f"send at most {MAX_BODY_BYTES} bytes")
    return None


def host_name(host: str) -> str | None:
    """The name in a Host header, without the port; None where it cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def problem(status: int, detail: str) -> JSONResponse:
    """The one shape of an error."""
    return JSONResponse({"detail": detail}, status, HEADERS)
