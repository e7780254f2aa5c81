"""Ids as the page knows them.

Ids in the database are hashes over prompt, text and model, so that equal records of different files meet. Somebody who
judges knows prompt and text: with a list of names they could find out by its id which model wrote a response. So the
page gets keyed hashes, under a key that never leaves the database (BATTERY X5).

With a question goes a ticket, a keyed hash of project, person and question: nobody answers what was given to somebody
else, and nothing needs to be remembered for an answer that comes after a day offline, or a restart of the server.
"""

import hashlib
import hmac
from collections.abc import Iterable

DIGEST_BYTES = 8
"""As many as ids in the database have."""


class UnfitAnswer(ValueError):
    """An answer that does not fit what is asked here."""


class UnknownId(UnfitAnswer):
    """An id, or several together, that the page was never given."""


class PageIds:
    """The ids of a room's records, to and from those of the page: keyed BLAKE2b (RFC 7693)."""

    def __init__(self, key: bytes, project: str = "") -> None:
        self.key, self.project = key, project
        self.stored: dict[str, str] = {}
        """Ids of the database by those of the page."""

    def hide(self, stored_id: str) -> str:
        """Return a stored id as the page gets it."""
        return hashlib.blake2b(stored_id.encode(), digest_size=DIGEST_BYTES, key=self.key).hexdigest()

    def add(self, stored_ids: Iterable[str]) -> None:
        """Let the page name these records."""
        self.stored.update((self.hide(each), each) for each in stored_ids)

    def find(self, page_id: str) -> str:
        """Return the stored id. UnknownId: no record that the page could name."""
        try:
            return self.stored[page_id]
        except KeyError:
            raise UnknownId("there is nothing of this id here") from None

    def make_ticket(self, annotator: str, question_id: str, note: str = "") -> str:
        """Return what shows that a person was given a question of this project, by its stored id.

        A `note` stands in it for all to read and for nobody to change.
        """
        parts = (self.project, annotator, question_id, *filter(None, [note]))
        content = "\0".join(parts).encode()
        digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self.key, person=b"ticket").hexdigest()
        return f"{digest}.{note}" if note else digest

    def check_ticket(self, ticket: str, annotator: str, question_id: str) -> str:
        """Return the note of a ticket. UnfitAnswer: this question was not given to this person."""
        note = ticket.partition(".")[2]
        if not hmac.compare_digest(ticket.encode(), self.make_ticket(annotator, question_id, note).encode()):
            raise UnfitAnswer("ticket: this question was not given to you")
        return note
