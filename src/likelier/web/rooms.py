"""The projects that a server serves: a room for each, opened when somebody comes in."""

import contextlib
import threading
from collections.abc import Collection

from fastapi import HTTPException

from likelier.errors import LikelierError
from likelier.feedback.accounts import Invitation, InvitationError, Person
from likelier.feedback.projects import list_projects
from likelier.feedback.store import Store
from likelier.web.access import NoEntry
from likelier.web.live import Live
from likelier.web.room import Guesser, Room

NO_PROJECT = "no such project, or you are not in it; ask whoever runs the page"
"""One answer for both: nobody learns which projects there are."""


class Rooms:
    """The rooms of a server: of one project, or of all in the database with `all_projects`.

    `wanted`, `per_comparison`, `only` and `guesser` are of the first, the store's own project; `live` policies
    answer in all.
    """

    def __init__(
        self,
        store: Store,
        guesser: Guesser | None = None,
        wanted: int | None = None,
        per_comparison: int | None = None,
        only: Collection[str] | None = None,
        all_projects: bool = False,
        live: Live | None = None,
    ) -> None:
        self.store, self.all_projects, self.per_comparison = store, all_projects, per_comparison
        self.live = live
        self.first = Room(store, guesser, wanted, per_comparison, only, live.ask if live else None)
        self.open_rooms, self.lock = {store.project: self.first}, threading.Lock()
        self.accounts = self.first.accounts

    def list_names(self) -> list[str]:
        """Return the names of the projects that are served, sorted."""
        return list_projects(self.store.database) if self.all_projects else [self.store.project]

    def list_for(self, person: Person) -> list[str]:
        """Return the names of the projects that a person may enter."""
        return [name for name in self.list_names() if person.may_enter(name)]

    def find(self, person: Person, name: str | None) -> Room:
        """Return the room of a project, by default of the person's first. 404: none that they may enter."""
        with self.lock:
            open_room = self.open_rooms.get(name or self.store.project)
        if open_room and person.may_enter(open_room.store.project):
            return open_room
        names = self.list_for(person)
        default = self.store.project if self.store.project in names else next(iter(names), "")
        name = name or default
        if not name or name not in names:
            raise NoEntry(404, NO_PROJECT)
        with self.lock:
            if name not in self.open_rooms:
                self.open_rooms[name] = Room(self.store.in_project(name), None, None, self.per_comparison, None)
            return self.open_rooms[name]

    def opens(self, invitation: Invitation) -> bool:
        """True if an invitation's project is served here; owners come in whatever is."""
        return invitation.role == "admin" or invitation.project in self.list_names()

    def let_in(self, token: str, name: str, person: Person | None) -> str:
        """Trade an invitation for the token of a session, of a person who is logged in for their own.

        InvitationError: it opens nothing here. HTTPException: it wants a name.
        """
        invitation = self.accounts.find_invitation(token)
        if invitation and not self.opens(invitation):
            raise InvitationError(f"this link is to the project {invitation.project}, which is not served here")
        if invitation and not (name or invitation.annotator or person):
            raise HTTPException(422, "name: give one")
        return self.first.let_in(token, name, person.annotator if person else None)

    def list_open(self) -> list[Room]:
        """Return the rooms that somebody has come into, and the first."""
        with self.lock:
            return list(self.open_rooms.values())

    def count_judged(self) -> int:
        """Count the judgements since the server was started, in all projects."""
        with self.lock:
            return sum(room.count_judged() for room in self.open_rooms.values())

    def close(self) -> None:
        """Store what is on people's screens, if the database still takes it: answers do not depend on it."""
        for room in self.list_open():
            with contextlib.suppress(LikelierError):
                room.close()
