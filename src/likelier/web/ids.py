"""Ids as the page knows them.

Ids in the database are hashes over prompt, text and model, so that equal records of different files meet. Somebody who
judges knows prompt and text: with a list of names they could find out by its id which model wrote a response. So the
page gets keyed hashes, under a key that never leaves the database (BATTERY X5).
"""

import hashlib
from collections.abc import Iterable

DIGEST_BYTES = 8
"""As many as ids in the database have."""


class UnfitAnswer(ValueError):
    """An answer that does not fit what is asked here."""


class UnknownId(UnfitAnswer):
    """An id, or several together, that the page was never given."""


class PageIds:
    """The ids of a room's records, to and from those of the page: keyed BLAKE2b (RFC 7693)."""

    def __init__(self, key: bytes) -> None:
        self.key = key
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
