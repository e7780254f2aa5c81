"""The judging page beside the training of an agent: people compare clips of it, side by side."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean

from likelier.config import PreferencesConfig
from likelier.feedback.ask import open_to_ask
from likelier.feedback.projects import ProjectSettings
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.records.media import read_media
from likelier.web.beside import check_page, serve_beside
from likelier.web.languages import load_words
from likelier.web.live import add_generated
from likelier.web.room import Room
from likelier.web.run_status import RunStatus

PROJECT = "clips"
"""Project of the database in which clips are compared."""
SETTINGS = ProjectSettings(per_comparison=1, strength=False, repeat_share=0.0)
"""Of a new project."""


class ClipPage:
    """A page of comparisons that is being served."""

    def __init__(self, room: Room, server: threading.Thread, question: str | None) -> None:
        """`question` None: the usual one, which each person reads in their own language."""
        usual = load_words("en")["clip_question"]
        self.room, self.server, self.prompt = room, server, Prompt(question or usual)
        self.run = RunStatus("agent", None if question else usual)
        self.room.more_comes, self.room.run = True, self.run
        self.withdraw()

    def end(self) -> None:
        """Tell people that nothing more is asked; what is on their screens is of no use any more."""
        self.withdraw()
        self.room.more_comes, self.run.is_over = False, True

    def withdraw(self) -> None:
        """Ask nobody any more about what nobody has begun."""
        with self.room.pairing_lock:
            self.room.pairing.withdraw(each.id for each in list(self.room.pairing.questions))

    def ask(self, pairs: Sequence[tuple[Path, Path]]) -> list[str]:
        """Ask people about pairs of media files, and about no earlier ones; returns the ids of the comparisons."""
        self.withdraw()
        media = {path: read_media(path) for pair in pairs for path in pair}
        for path, record in media.items():
            self.room.store.media_folder.add(record, path)
        responses = {path: Response(self.prompt.id, media=record) for path, record in media.items()}
        made = [Comparison(self.prompt.id, responses[first].id, responses[second].id) for first, second in pairs]
        add_generated(self.room, made, list(responses.values()), [self.prompt])
        with self.room.pairing_lock:
            self.room.media = self.room.media | {record.sha256: record for record in media.values()}
            self.room.pairing.ask_again(each.id for each in made)
        return [f"{each.id} {each.response_a}" for each in made]

    def read(self, ids: Sequence[str]) -> list[float | None]:
        """Return the answers to comparisons: P(the first is better), None while there is none.

        LikelierError: the page has ended, or its owner has changed what is asked.
        """
        check_page(self.room, self.server, Judgement)
        firsts = dict(each.split() for each in ids)
        given: dict[str, list[float]] = {each: [] for each in firsts}
        for judgement in self.room.store.judgements_of(list(firsts)):
            given[judgement.comparison_id].append(read_choice(judgement, firsts[judgement.comparison_id]))
        return [fmean(given[each.split()[0]]) if given[each.split()[0]] else None for each in ids]


def read_choice(judgement: Judgement, first: str) -> float:
    """Return 1 if the first response is preferred, 0 if the other, 0.5 for a tie."""
    return 0.5 if judgement.preferred is None else float(judgement.preferred == first)


@contextmanager
def open_clip_page(config: PreferencesConfig) -> Iterator[ClipPage]:
    """Open the database and serve its project of clips until the block ends; the owner's link is printed on stderr.

    ConfigError: an address that is not protected, or a project that asks something else. DataError: see `Store.open`.
    LikelierError: the port is taken.
    """
    assert config.db is not None
    make = partial(ClipPage, question=config.question)
    with (
        open_to_ask(config.db, PROJECT, SETTINGS, "gym.preferences.db") as store,
        serve_beside(store, config, "gym.preferences", make) as page,
    ):
        yield page
