"""Authorisation: one table of routes and roles, enforced for every request."""

from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from likelier.errors import LikelierError
from likelier.feedback.accounts import Accounts, Person, Role
from likelier.feedback.projects import MAX_NAME

ACCESS: dict[tuple[str, str], Role | None] = {
    ("GET", "/"): None,
    ("POST", "/name"): None,
    ("POST", "/logout"): "annotator",
    ("GET", "/static/{name}"): None,
    ("GET", "/question"): "annotator",
    ("POST", "/judgements"): "annotator",
    ("POST", "/ratings"): "annotator",
    ("POST", "/rankings"): "annotator",
    ("POST", "/skip"): "annotator",
    ("POST", "/messages"): "annotator",
    ("GET", "/guidelines"): "annotator",
    ("GET", "/today"): "annotator",
    ("GET", "/media/{sha256}"): "annotator",
    ("GET", "/review"): "reviewer",
    ("GET", "/review/state"): "reviewer",
    ("POST", "/review"): "reviewer",
    ("GET", "/owner"): "admin",
    ("GET", "/owner/state"): "admin",
    ("POST", "/owner/invitations"): "admin",
    ("POST", "/owner/people"): "admin",
    ("GET", "/owner/export/{name}"): "admin",
    ("GET", "/owner/openapi.json"): "admin",
    ("GET", "/owner/project"): "admin",
    ("POST", "/owner/projects"): "admin",
    ("POST", "/owner/settings"): "admin",
    ("POST", "/owner/guidelines"): "admin",
    ("POST", "/owner/prompts"): "admin",
    ("POST", "/owner/import"): "admin",
    ("POST", "/owner/members"): "admin",
    ("GET", "/owner/comparisons"): "admin",
    ("POST", "/owner/gold"): "admin",
}
"""The least role for each route; None: everybody. A route that does not stand here is refused to all."""


PAGES = ("/owner", "/review")
"""Routes of pages: who may not enter reads that as a page."""


class NoEntry(HTTPException):
    """A request that is not for this person: 403 of a role, 404 of a project."""


class Session(BaseUser):
    """The person behind a request."""

    def __init__(self, person: Person) -> None:
        self.person = person

    @property
    def is_authenticated(self) -> bool:
        """True: there is a session."""
        return True

    @property
    def display_name(self) -> str:
        """Return the person's name."""
        return self.person.name


class SessionBackend(AuthenticationBackend):
    """Finds the session of a request in the database, by its cookie."""

    def __init__(self, accounts: Accounts, cookie: str) -> None:
        self.accounts, self.cookie = accounts, cookie

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the person with their role. AuthenticationError: the database cannot be read."""
        session = conn.cookies.get(self.cookie)
        if not session:
            return None
        try:
            person = self.accounts.recall(session) or await run_in_threadpool(self.accounts.find, session)
        except LikelierError as error:
            raise AuthenticationError(str(error)) from error
        return (AuthCredentials([person.role]), Session(person)) if person else None


async def check_access(request: Request) -> None:
    """Refuse a request that `ACCESS` does not allow. 403: no session, or a role that may not.

    Async, so that it is not sent to another thread: it waits for nothing.
    """
    place = (request.method, request.scope["route"].path)
    if place not in ACCESS:
        raise NoEntry(403, "nobody may do this")
    role = ACCESS[place]
    if role is None:
        return
    person = find_person(request)
    if person is None:
        raise NoEntry(403, "open the link that the server printed, or that you were sent")
    if not person.may(role):
        raise NoEntry(403, f"this is for the role {role}")


def find_person(request: Request) -> Person | None:
    """Return the person behind a request; None without a session."""
    return request.user.person if isinstance(request.user, Session) else None


def get_person(request: Request) -> Person:
    """Return the person behind a request to a route that needs a role. 403: there is no session."""
    person = find_person(request)
    if person is None:
        raise HTTPException(403, "open the link that the server printed, or that you were sent")
    return person


async def require_person(request: Request) -> Person:
    """Return the person behind a request, without the way through another thread. 403: there is no session."""
    return get_person(request)


KEY = r"^[0-9a-f-]{8,64}$"
"""Of an answer, made by the page: whoever sends it again changes nothing."""
Visitor = Annotated[Person, Depends(require_person)]
Project = Annotated[str | None, Query(max_length=MAX_NAME)]
"""What a request is about; by default the person's first project."""
