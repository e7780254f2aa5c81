"""POST of JSON with time-outs, retries and refusals in one line."""

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from likelier.errors import LikelierError
from likelier.userfile import summarise_error

HTTP_TIMEOUT_SECONDS = 30.0
HTTP_RETRIES = 3
MAX_WAIT_SECONDS = 60.0
"""The longest wait that a busy service may ask for (Retry-After)."""
MAX_REASON_BYTES = 1 << 14
"""Read of the body of a refusal."""
PASSING = {408, 425, 429}
"""Refusals that may pass; any other from 400 to 499 says that the request or its key is wrong, and so stays."""


class InvalidAnswer(Exception):
    """An invalid answer for which a retry is pointless."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Rejects redirects: prompts and responses go to the configured address and to no other host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Always raise InvalidAnswer."""
        raise InvalidAnswer(f"status {code} points to {newurl}; redirects are not followed, give that address")


def post(
    address: str, body: bytes, max_bytes: int, name: str, seconds: float | None = None, retry_seconds: float = 0.2
) -> Any:
    """POST with time-out and retries, each after twice as long, or as long as a busy service asks for. `name` is the
    service's in errors.

    LikelierError: it never answered with JSON of `max_bytes` and status 200, or refused for good.
    """
    request = make_request(address, body, name)
    for attempt in range(HTTP_RETRIES + 1):
        wait = retry_seconds * 2**attempt
        try:
            return read_answer(request, max_bytes, seconds or HTTP_TIMEOUT_SECONDS)
        except InvalidAnswer as error:
            raise LikelierError(f"{name}: {error}") from None
        except urllib.error.HTTPError as error:
            reason, wait = explain_refusal(error, address), max(wait, read_wait(error))
            if error.code < 500 and error.code not in PASSING:
                raise LikelierError(f"{name}: {reason}") from None
        except TimeoutError:
            reason = f"no whole answer within {seconds or HTTP_TIMEOUT_SECONDS:g} s"
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            reason = summarise_error(error)
        if attempt < HTTP_RETRIES:
            time.sleep(wait)
    raise LikelierError(f"{name}: {reason}, {HTTP_RETRIES} retries made; is it running?")


def explain_refusal(error: urllib.error.HTTPError, address: str) -> str:
    """Return status and reason of a refusal in one line, the reason from the body where it has one, as OpenAI's
    `{"error": {"message"}}` or FastAPI's `{"detail"}`; name and password of the address are blotted out."""
    answer: Any
    try:
        with error:
            answer = json.loads(error.read(MAX_REASON_BYTES))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        answer = None
    if isinstance(answer, dict):
        answer = answer.get("error", answer.get("detail", answer.get("message")))
    if isinstance(answer, dict):
        answer = answer.get("message")
    reason = " ".join(str(answer or error.reason).split())
    parts = urlsplit(address)
    for secret in filter(None, (parts.username, parts.password)):
        reason = reason.replace(unquote(secret), "***")
    return f"status {error.code}: {reason[:200]}"


def read_wait(error: urllib.error.HTTPError) -> float:
    """Return the seconds that a service asks to wait (Retry-After), at most MAX_WAIT_SECONDS; 0 if it does not."""
    seconds = str(error.headers.get("Retry-After", ""))
    return min(float(seconds), MAX_WAIT_SECONDS) if seconds.isdecimal() else 0.0


def make_request(address: str, body: bytes, name: str) -> urllib.request.Request:
    """A POST of JSON; name and password of the address are sent as HTTP asks (Basic, RFC 7617), urllib knows them not.

    A name alone is a token (Bearer, RFC 6750). LikelierError: not an address that can be asked.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        netloc = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    except ValueError:
        raise LikelierError(f"{name}: no address; a password needs its %, /, ? and # quoted") from None
    headers = {"Content-Type": "application/json"}
    if parts.username is not None and parts.password is None:
        headers["Authorization"] = f"Bearer {unquote(parts.username)}"
    elif parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return urllib.request.Request(urlunsplit(parts._replace(netloc=netloc)), body, headers)


def read_answer(request: urllib.request.Request, max_bytes: int, seconds: float) -> Any:
    """Read the JSON of one answer. OSError, ValueError, HTTPException: there is none. InvalidAnswer: it is too long.

    The whole answer is timed too, since a socket's time-out restarts with every byte.
    """
    until = time.monotonic() + seconds
    opener = urllib.request.build_opener(NoRedirects)
    with opener.open(request, timeout=seconds) as reply:
        if reply.status != 200:
            raise OSError(f"status {reply.status}")
        parts, left = [], max_bytes
        while part := reply.read1():
            parts.append(part)
            left -= len(part)
            if left < 0:
                raise InvalidAnswer(f"the answer is longer than {max_bytes:,} bytes; send no more than was asked for")
            if time.monotonic() > until:
                raise TimeoutError(f"no whole answer within {seconds:g} s")
        if reply.length:  # read1 ends without an error where the service hung up
            raise http.client.IncompleteRead(b"".join(parts), reply.length)
        return json.loads(b"".join(parts))
