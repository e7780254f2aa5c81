"""A judging page beside a training run: served by a thread of it until the block ends."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import uvicorn

from likelier.errors import LikelierError
from likelier.feedback.store import Store
from likelier.records import Judgement, Rating
from likelier.web.app import create_app
from likelier.web.room import Room
from likelier.web.server import announce_links, listen_for, make_access, make_config, name_host

if TYPE_CHECKING:
    from likelier.config.base import PageConfig

CLOSE_SECONDS = 10.0
"""How long the server may take to end."""
TELL_SECONDS = 5.0
"""How long a run that is over waits until all open pages know it."""


class Page(Protocol):
    """The page through which a run asks people."""

    def end(self) -> None:
        """Tell people that nothing more is asked."""
        ...


P = TypeVar("P", bound=Page)


@contextmanager
def serve_beside(
    store: Store, config: "PageConfig", block: str, make: Callable[[Room, threading.Thread], P]
) -> Iterator[P]:
    """Serve the store's project; yields what `make` makes of its room and the server's thread before anybody can come.

    A block that ends without an error is a run that is over, and open pages say so: no more is asked after a resume.

    The owner's link is printed on stderr. `block` names the settings in messages. ConfigError: an address that is not
    protected. LikelierError: the port is taken.
    """
    access = make_access(config, block)
    listener = listen_for(store, access.host, config.port)
    port = listener.getsockname()[1]
    site = access.make_site(port)
    address = site.public_origin or f"{site.scheme}://{name_host(access.host)}:{port}"
    store.show_address(address)
    app = create_app(store, site=site)
    room: Room = app.state.room
    server = uvicorn.Server(make_config(app, access))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with closing(app.state.rooms):
        page = make(room, thread)
        announce_links(room, address, access)
        thread.start()
        try:
            yield page
            page.end()
            tell_people(room)
        finally:
            server.should_exit = True
            thread.join(CLOSE_SECONDS)


def tell_people(room: Room) -> None:
    """Wait until all who look at the page know that the run is over, `TELL_SECONDS` at most."""
    assert room.run is not None
    room.run.is_over, until = True, time.monotonic() + TELL_SECONDS
    while room.run.count_untold() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)  # for the last reply to be sent


def check_page(room: Room, server: threading.Thread, kind: type[Judgement] | type[Rating]) -> None:
    """LikelierError: the page has ended, or its owner has changed what is asked to something else than `kind`."""
    if not server.is_alive():
        raise LikelierError("the judging page has ended; go on with --resume auto")
    if room.kind is not kind:
        asked = "ratings" if kind is Rating else "comparisons"
        line = f"what is asked was changed; its owner can set it back to {asked}"
        raise LikelierError(f"{room.store.name}: {line}, and the run goes on with --resume auto")
