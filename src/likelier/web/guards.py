"""Refuses requests that our pages would not send, and gives every reply the same security headers and error shape."""

import asyncio
import time
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likelier.errors import LikelierError
from likelier.terminal import print_stderr
from likelier.web.site import Site

MAX_BODY_BYTES = 20_000
MAX_WAIT_SECONDS = 5.0
"""Of a request whose turn is not yet."""
LARGE_BODIES = {
    "/owner/guidelines": 500_000,
    "/owner/prompts": 500_000,
    "/owner/import": 8_000_000,
    "/messages": 40_000,
}
"""Of a browser with a session: what an owner sends, or somebody writes to a model, may be longer."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
CACHE = b"cache-control"
HTTPS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


class Failures:
    """Answers requests that the database fails, and prints each failure on stderr once."""

    def __init__(self) -> None:
        self.printed: set[str] = set()

    def answer(self, error: Exception) -> JSONResponse:
        """Return a 503 with the reason."""
        if str(error) not in self.printed:
            self.printed.add(str(error))
            print_stderr(f"likelier: {error}")
        return error_response(503, str(error))


class Pace:
    """Lets each person have so many requests a second, after some at once; what is more waits for its turn.

    Somebody who asks for parts of a film on fifty connections would otherwise take the server from all others.
    """

    def __init__(self, per_second: float, at_once: int) -> None:
        self.seconds, self.at_once = 1 / per_second, at_once
        self.next: dict[str, float] = {}
        """When each person's next turn is."""

    async def wait(self, person: str) -> None:
        """Wait for a person's turn. 429: it would be too long."""
        now = time.monotonic()
        turn = max(self.next.get(person, 0.0), now - self.at_once * self.seconds)
        if turn > now + MAX_WAIT_SECONDS:
            raise HTTPException(429, "too many requests at once; try again in a moment")
        self.next[person] = turn + self.seconds
        await asyncio.sleep(max(0.0, turn - now))


class Guard:
    """Middleware around all others. (Not `@app.middleware`, which costs a task and two queues for each request.)"""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site = app, site
        headers = HEADERS | (HTTPS_HEADERS if site.is_secure else {})
        self.headers = {name.lower().encode(): value.encode() for name, value in headers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on; the reply gets the headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = dict(message["headers"])
                kept = {CACHE: given[CACHE]} if CACHE in given else {}  # of the routes only media files have their own
                own = [pair for pair in message["headers"] if pair[0] not in self.headers]  # a cookie may come twice
                message["headers"] = [*own, *(self.headers | kept).items()]
            await send(message)

        refusal = check_request(Request(scope), self.site)
        if refusal:
            refusal.headers["Connection"] = "close"  # otherwise the body, however long, would be read to its end
        await (refusal or self.app)(scope, receive, send_with_headers)


def add_guards(app: FastAPI, site: Site, failures: Failures) -> None:
    """Refuse what our page would not send; give errors one shape and every reply the headers."""
    app.add_middleware(Guard, site=site)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        text = first["msg"].removeprefix("Value error, ")  # of a check of several fields, which has no place
        return error_response(422, f"{place}: {text}" if place else text)

    @app.exception_handler(LikelierError)
    async def failed(request: Request, error: LikelierError) -> Response:
        return failures.answer(error)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> Response:
        return error_response(500, "the server made a mistake; the terminal says which")


def check_request(request: Request, site: Site) -> Response | None:
    """Return the error for a request that our page would not send: foreign host or origin, wrong type, large body.

    A body in chunks has no length that could be checked, and counts over one that is given (RFC 9112, section 6.3).
    """
    host, length = request.headers.get("host", ""), request.headers.get("content-length", "")
    if not site.knows(parse_host(host)):
        return error_response(403, "unknown host name")
    if request.method == "POST":
        if request.headers.get("origin") != site.origin_for(host):
            return error_response(403, "requests come from this page only")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return error_response(415, "send application/json")
    has_length = "content-length" in request.headers or request.method == "POST"
    most = MAX_BODY_BYTES
    if request.scope["path"] in LARGE_BODIES and site.cookie in request.cookies:
        most = LARGE_BODIES[request.scope["path"]]
    if "transfer-encoding" in request.headers or (has_length and not is_small(length, most)):
        return error_response(413, f"send at most {most} bytes, and no chunks")
    return None


def is_small(length: str, most: int) -> bool:
    """True for the length of a body that is read."""
    return length.isdecimal() and len(length) <= len(str(most)) and int(length) <= most


@lru_cache(1000)
def parse_host(host: str) -> str | None:
    """Return the name in a Host header, without the port; None if it cannot be parsed."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def error_response(status: int, detail: str) -> JSONResponse:
    """Every error is JSON with one key, `detail`."""
    return JSONResponse({"detail": detail}, status, HEADERS)
