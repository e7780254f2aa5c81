"""Accounts by one-time invitation, and sessions that outlive the server.

Tokens are random and stand in the database as SHA-256 alone, so that a copy of it opens nothing. There are no
passwords: whoever needs a link on another device, or has lost theirs, gets a new invitation to the same account.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import sqlalchemy as sa

from likelier.errors import LikelierError
from likelier.feedback.store import Store
from likelier.feedback.tables import accounts, annotators, invitations, members, people, projects, sessions
from likelier.feedback.writer import Writer

Role = Literal["annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
DAY = 86_400.0
INVITATION_SECONDS = 7 * DAY
IDLE_SECONDS = 14 * DAY
"""A session ends when it was not used for so long (ASVS 7.3.1)."""
ABSOLUTE_SECONDS = 90 * DAY
"""A session ends so long after it began, used or not (ASVS 7.3.2)."""
SEEN_EVERY = 3600.0
"""Seconds between writes of the time at which a session was last used."""
FOUND_SECONDS, MAX_FOUND = 60.0, 10_000
"""So long a session that was found is not looked for again, unless an account changes; and of so many sessions."""

FIND = (
    sa.select(sessions.c.annotator_id, people.c.name, accounts.c.role, sessions.c.seen_at)
    .join(accounts, accounts.c.annotator_id == sessions.c.annotator_id)
    .outerjoin(people, people.c.annotator_id == sessions.c.annotator_id)
    .where(sessions.c.token_hash == sa.bindparam("token"), ~accounts.c.disabled)
    .where(sessions.c.seen_at > sa.bindparam("idle_since"), sessions.c.created_at > sa.bindparam("begun"))
)
MEMBERS = sa.select(members.c.annotator_id, members.c.project).order_by(members.c.project)
MEMBERSHIPS = MEMBERS.where(members.c.annotator_id == sa.bindparam("annotator"))
"""Of every request, so they are put together once."""


class InvitationError(LikelierError):
    """An invitation that opens nothing: it is unknown, used or expired, or the name belongs to somebody else."""


@dataclass(frozen=True)
class Person:
    """Somebody with an account; `annotator` is the pseudonym under which they judge."""

    annotator: str
    name: str
    role: Role
    disabled: bool = False
    projects: tuple[str, ...] = ()
    """In which they are members, sorted."""

    def may_enter(self, project: str) -> bool:
        """True if they are members of a project; admins may enter each."""
        return self.role == "admin" or project in self.projects

    def may(self, role: Role) -> bool:
        """True if their role includes what `role` may do."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Found(NamedTuple):
    """A session that was found in the database."""

    person: Person
    changes: int
    """`Database.account_changes` before that."""
    until: float


@dataclass(frozen=True)
class Invitation:
    """An invitation that can still be used, and the account and project that it opens."""

    role: Role
    project: str
    annotator: str | None = None
    """Whose account it opens; None: that of somebody new."""
    name: str = ""
    """Their name."""

    def is_new_to(self, person: Person) -> bool:
        """True if it lets a person who is logged in already into one more project."""
        return self.annotator is None and not person.may_enter(self.project)


def hash_token(token: str) -> str:
    """Hash a token for the database. Fast: a random token of 256 bits cannot be guessed, unlike a password."""
    return hashlib.sha256(token.encode()).hexdigest()


class Accounts:
    """The accounts, invitations and sessions of a feedback database."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.found: dict[str, Found] = {}
        """Sessions of a SQLite file by the hash of their token."""

    @contextmanager
    def changing(self) -> Iterator[Writer]:
        """Open a transaction that may change what a session opens."""
        try:
            with self.store.transaction() as writer:
                yield writer
        finally:
            self.store.database.account_changes += 1

    def invite(self, role: Role, annotator: str | None = None, project: str | None = None) -> str:
        """Return the token of a new invitation, which works once; with `annotator` it opens that person's account.

        Whoever uses it becomes a member of the project, by default of the store's own.
        """
        token, now = secrets.token_urlsafe(32), time.time()
        with self.store.transaction() as writer:
            writer.connection.execute(invitations.delete().where(invitations.c.expires_at < now))
            row = {"token_hash": hash_token(token), "role": role, "annotator_id": annotator}
            row["project"] = project or self.store.project
            writer.insert(invitations, [row | {"expires_at": now + INVITATION_SECONDS}])
        return token

    def accept(self, token: str, name: str, own: str | None = None) -> str:
        """Use an invitation under a name, and return the token of a new session. InvitationError: it opens nothing.

        With `own`, the pseudonym of somebody who is logged in, one that is nobody's yet is theirs, whatever the name.
        """
        session, now = secrets.token_urlsafe(32), time.time()
        with self.changing() as writer:
            is_this = invitations.c.token_hash == hash_token(token)
            invitation = writer.connection.execute(sa.select(invitations).where(is_this)).one_or_none()
            if invitation is None or invitation.expires_at < now:
                raise InvitationError("this link was used before or is too old; ask for a new one")
            annotator = invitation.annotator_id or own or choose_annotator(writer, name, invitation.role)
            open_account(writer, annotator, invitation.role, now)
            set_member(writer, annotator, invitation.project or self.store.project, True)
            writer.connection.execute(invitations.delete().where(is_this))
            row = {"token_hash": hash_token(session), "annotator_id": annotator, "created_at": now, "seen_at": now}
            writer.insert(sessions, [row])
        return session

    def find_invitation(self, token: str) -> Invitation | None:
        """Return what a token opens; None: it was used before, is too old, or is none."""
        query = sa.select(invitations, people.c.name).outerjoin(
            people, people.c.annotator_id == invitations.c.annotator_id
        )
        with self.store.reading() as connection:
            row = connection.execute(query.where(invitations.c.token_hash == hash_token(token))).one_or_none()
        if row is None or row.expires_at < time.time():
            return None
        return Invitation(row.role, row.project or self.store.project, row.annotator_id, row.name or "")

    def find(self, session: str) -> Person | None:
        """Return whose session this is; None if it has ended, or the account is disabled."""
        now, changes, token_hash = time.time(), self.store.database.account_changes, hash_token(session)
        ends = {"idle_since": now - IDLE_SECONDS, "begun": now - ABSOLUTE_SECONDS}
        with self.store.reading() as connection:
            row = connection.execute(FIND, ends | {"token": token_hash}).one_or_none()
            own = read_members(connection, row.annotator_id).get(row.annotator_id, ()) if row else ()
        if row is None:
            return None
        if now - row.seen_at > SEEN_EVERY:
            self.update_seen(session, now)
        person = Person(row.annotator_id, row.name or "", row.role, projects=own)
        if self.store.path:
            if len(self.found) >= MAX_FOUND:
                self.found = {}
            self.found[token_hash] = Found(person, changes, now + FOUND_SECONDS)
        return person

    def recall(self, session: str) -> Person | None:
        """Return whose session this is if it was found a moment ago and no account has changed since; None otherwise.

        A role that was taken away is gone with the next request (CVE-2026-44553): only this process, which has the
        lock, changes accounts of a SQLite file. Of PostgreSQL, where others may, every session is looked for.
        """
        known = self.found.get(hash_token(session))
        is_valid = known and known.changes == self.store.database.account_changes and time.time() < known.until
        return known.person if known and is_valid else None

    def update_seen(self, session: str, now: float) -> None:
        """Note that a session was used."""
        with self.changing() as writer:
            writer.connection.execute(
                sessions.update().where(sessions.c.token_hash == hash_token(session)).values(seen_at=now)
            )

    def log_out(self, session: str) -> None:
        """End a session."""
        with self.changing() as writer:
            writer.connection.execute(sessions.delete().where(sessions.c.token_hash == hash_token(session)))

    def set_disabled(self, annotator: str, disabled: bool) -> bool:
        """Shut a person out at once, or let them in again by a new link. False: no such account."""
        with self.changing() as writer:
            update = accounts.update().where(accounts.c.annotator_id == annotator).values(disabled=disabled)
            num_changed = writer.connection.execute(update).rowcount
            if disabled:
                writer.connection.execute(sessions.delete().where(sessions.c.annotator_id == annotator))
                writer.connection.execute(invitations.delete().where(invitations.c.annotator_id == annotator))
        return num_changed > 0

    def list_people(self) -> list[Person]:
        """Return everybody with an account, in the order in which they came."""
        query = (
            sa.select(accounts.c.annotator_id, people.c.name, accounts.c.role, accounts.c.disabled)
            .outerjoin(people, people.c.annotator_id == accounts.c.annotator_id)
            .order_by(accounts.c.created_at, accounts.c.annotator_id)
        )
        with self.store.reading() as connection:
            own = read_members(connection)
            return [
                Person(row[0], row.name or "", row.role, row.disabled, own.get(row[0], ()))
                for row in connection.execute(query)
            ]

    def set_member(self, annotator: str, project: str, is_member: bool) -> None:
        """Let a person judge in a project, or no longer."""
        with self.changing() as writer:
            set_member(writer, annotator, project, is_member)


def read_members(connection: sa.Connection, annotator: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the projects of each person, or of one."""
    query = MEMBERS if annotator is None else MEMBERSHIPS
    projects_of: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(query, {"annotator": annotator}):
        projects_of[row.annotator_id] = (*projects_of.get(row.annotator_id, ()), row.project)
    return projects_of


def set_member(writer: Writer, annotator: str, project: str, is_member: bool) -> None:
    """Note that a person is a member of a project, or no longer."""
    if is_member:
        writer.insert(projects, [{"name": project, "settings": "{}"}])
        writer.insert(members, [{"project": project, "annotator_id": annotator}])
        return
    is_this = (members.c.project == project) & (members.c.annotator_id == annotator)
    writer.connection.execute(members.delete().where(is_this))


def choose_annotator(writer: Writer, name: str, role: Role) -> str:
    """Return the pseudonym for a name: a new one, or that of a person from before there were accounts.

    An invitation as admin, which comes from the terminal or from another admin, opens any account. InvitationError: the
    name belongs to somebody who has an account, whose judgements a stranger could go on with.
    """
    for known in writer.find_people(name).values():
        has_account = writer.connection.execute(sa.select(accounts).where(accounts.c.annotator_id == known)).first()
        if has_account and role != "admin":
            raise InvitationError(
                "this name is taken; if it is you, ask for a link to your own account, or add a letter"
            )
    return writer.add_person(name)


def open_account(writer: Writer, annotator: str, role: Role, now: float) -> None:
    """Create an account, or raise the role of the one that is there; a disabled one is opened again."""
    is_this = accounts.c.annotator_id == annotator
    account = writer.connection.execute(sa.select(accounts).where(is_this)).one_or_none()
    if account is None:
        writer.insert(annotators, [{"id": annotator}])
        row = {"annotator_id": annotator, "role": role, "disabled": False, "created_at": now}
        writer.insert(accounts, [row])
        return
    higher = max(account.role, role, key=ROLES.index)
    writer.connection.execute(accounts.update().where(is_this).values(role=higher, disabled=False))
