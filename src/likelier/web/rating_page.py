"""The judging page beside PPO: a thread serves it during the whole run, and each step adds what is to be rated."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import uvicorn

from likelier.config import PPOConfig
from likelier.errors import LikelierError
from likelier.feedback.questions import Question
from likelier.feedback.store import Store
from likelier.records import Prompt, Rating, Response
from likelier.web.app import create_app
from likelier.web.live import add_generated
from likelier.web.room import Room
from likelier.web.server import announce_links, listen, make_access, make_config, name_host

CLOSE_SECONDS = 10.0
"""How long the server may take to end."""


class RatingPage:
    """A page of ratings that is being served."""

    def __init__(self, room: Room, server: threading.Thread) -> None:
        self.room, self.server = room, server
        self.room.more_comes = True
        self.ask((), ())

    def ask(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
        """Ask people about these responses, and about no earlier ones; who has one of those may still rate it."""
        room = self.room
        add_generated(room, [Question(each.prompt_id, (each.id,)) for each in responses], responses, prompts)
        with room.pairing_lock:
            room.asked = frozenset(each.id for each in responses)
            room.pairing.ask_again(room.asked)  # a policy may write again what it wrote before
            room.withdraw_former()

    def count_missing(self) -> int:
        """Count the ratings that the responses asked about lack.

        LikelierError: the page has ended, or its owner has changed what is asked.
        """
        if not self.server.is_alive():
            raise LikelierError("the judging page has ended; go on with --resume auto")
        if self.room.kind is not Rating:
            line = "what is asked was changed; its owner can set it back to ratings"
            raise LikelierError(f"{self.room.store.name}: {line}, and the run goes on with --resume auto")
        pairing, wanted = self.room.update_pairing(), self.room.per_comparison
        with self.room.pairing_lock:
            places = [pairing.indices[each] for each in self.room.asked or ()]
            return sum(max(0, wanted - pairing.num_people[place]) for place in places)


@contextmanager
def open_rating_page(store: Store, config: PPOConfig) -> Iterator[RatingPage]:
    """Serve the store's project of ratings until the block ends; the owner's link is printed on stderr.

    ConfigError: an address that is not protected. LikelierError: the port is taken.
    """
    access = make_access(config, "ppo")
    listener = listen(access.host, config.port)
    port = listener.getsockname()[1]
    site = access.make_site(port)
    address = site.public_origin or f"{site.scheme}://{name_host(access.host)}:{port}"
    store.show_address(address)
    app = create_app(store, site=site)
    room: Room = app.state.room
    server = uvicorn.Server(make_config(app, access))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with closing(app.state.rooms):
        page = RatingPage(room, thread)
        announce_links(room, address, access)
        thread.start()
        try:
            yield page
        finally:
            server.should_exit = True
            thread.join(CLOSE_SECONDS)
