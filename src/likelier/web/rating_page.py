"""The judging page beside PPO: a thread serves it during the whole run, and each step adds what is to be rated."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from likelier.config import PPOConfig
from likelier.feedback.questions import Question
from likelier.feedback.store import Store
from likelier.records import Prompt, Rating, Response
from likelier.web.beside import check_page, serve_beside
from likelier.web.live import add_generated
from likelier.web.room import Room
from likelier.web.run_status import RunStatus


class RatingPage:
    """A page of ratings that is being served."""

    def __init__(self, room: Room, server: threading.Thread) -> None:
        self.room, self.server = room, server
        self.room.more_comes, self.room.run = True, RunStatus("model")
        self.ask((), ())

    def ask(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
        """Ask people about these responses, and about no earlier ones; who has one of those may still rate it."""
        room = self.room
        add_generated(room, [Question(each.prompt_id, (each.id,)) for each in responses], responses, prompts)
        with room.pairing_lock:
            room.asked = frozenset(each.id for each in responses)
            room.pairing.ask_again(room.asked)  # a policy may write again what it wrote before
            room.withdraw_former()

    def end(self) -> None:
        """Tell people that no more answers come; who has one on the screen may still rate it."""
        self.ask((), ())
        self.room.more_comes = False

    def count_missing(self) -> int:
        """Count the ratings that the responses asked about lack.

        LikelierError: the page has ended, or its owner has changed what is asked.
        """
        check_page(self.room, self.server, Rating)
        pairing, wanted = self.room.update_pairing(), self.room.per_comparison
        with self.room.pairing_lock:
            places = [pairing.indices[each] for each in self.room.asked or ()]
            return sum(max(0, wanted - pairing.num_people[place]) for place in places)


@contextmanager
def open_rating_page(store: Store, config: PPOConfig) -> Iterator[RatingPage]:
    """Serve the store's project of ratings until the block ends; the owner's link is printed on stderr.

    ConfigError: an address that is not protected. LikelierError: the port is taken.
    """
    with serve_beside(store, config, "ppo", RatingPage) as page:
        yield page
