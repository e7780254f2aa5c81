"""State shared by the routes of the judging page: the store, its accounts, and what is asked next."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from likelier.feedback.accounts import Accounts, Person
from likelier.feedback.pairing import Pairing
from likelier.feedback.projects import Ask, read_guidelines, read_settings
from likelier.feedback.questions import Assignment
from likelier.feedback.store import Store
from likelier.feedback.tables import DEFAULT_PROJECT
from likelier.generation.policies import is_former
from likelier.records import Comparison, Judgement, Media, Text, to_plain_text
from likelier.web.guesses import Guess, Guesses
from likelier.web.markdown import render_markdown

Guesser = Callable[[Text, str, str], float]
"""(prompt, left, right) to the probability that the left response wins."""
SHOWN_AHEAD = 2
"""Comparisons sent at once: the next one is in the browser before it is asked for."""

RECOUNT_SECONDS = 60.0
"""How often judgements of other processes in a PostgreSQL database are looked for that came late."""


class UnknownComparison(ValueError):
    """A judgement about responses that are not the two sides of a comparison of this page."""


class Room:
    """The store, its accounts, and the assignment of comparisons to people.

    `announce(token)` is called with each link's token, a new one as soon as the last was used; `when_finished` is
    called once there are `wanted` judgements. With `only`, ids of comparisons, nothing else is asked and nobody is
    asked one twice; `wanted` is then at most how many judgements these lack until `per_comparison` different people
    have judged each.
    """

    def __init__(
        self,
        store: Store,
        guesser: Guesser | None,
        wanted: int | None,
        per_comparison: int | None,
        only: Collection[str] | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.store, self.guesser, self.wanted, self.only = store, guesser, wanted, only
        store.prepare_to_write()
        self.given_per_comparison, self.given_ask, self.accounts = per_comparison, ask, Accounts(store)
        self.announce: Callable[[str], object] = lambda token: None
        self.when_finished: Callable[[], object] = lambda: None
        self.guesses: defaultdict[str, Guesses] = defaultdict(Guesses)
        self.query = "" if store.project == DEFAULT_PROJECT else f"?{urlencode({'project': store.project})}"
        """Of addresses of files that belong to this project."""
        self.policies: tuple[str, ...] = ()
        """Names of the live policies of this moment."""
        self.more_comes = False
        """Live policies write more comparisons as these are judged."""
        self.pairing_lock = threading.Lock()
        self.load()
        self.last_recount = 0.0
        self.num_before = self.update_pairing().num_judgements
        self.until_judged = only is not None and wanted is None
        """The page ends when no comparison lacks a judgement, whoever gave it."""
        if only is not None:
            missing = self.count_missing()
            self.wanted = missing if wanted is None else min(wanted, missing)
        self.token = self.accounts.invite("admin")
        """Of the link that is printed: the owner's, and then one for another person."""

    def load(self) -> None:
        """Read what is asked here, and how, from the store; once more after it has changed."""
        with self.pairing_lock:
            with self.store.reading() as connection:
                settings = read_settings(connection, self.store.project)
                self.settings = settings.model_copy(update={"ask": self.given_ask}) if self.given_ask else settings
                versions = read_guidelines(connection, self.store.project)
            self.guideline = versions[-1] if versions else None
            self.prompts = {prompt.id: prompt.text for prompt in self.store.prompts()}
            self.responses = {response.id: response for response in self.store.responses()}
            comparisons = {comparison.id: comparison for comparison in self.store.comparisons()}
            self.comparisons = comparisons if self.only is None else {each: comparisons[each] for each in self.only}
            self.media = self.find_media()
            self.per_comparison = self.given_per_comparison or self.settings.per_comparison
            self.start_pairing()

    def find_media(self) -> dict[str, Media]:
        """Return the media files that this page may show, by hash."""
        shown = [pair.response_a for pair in self.comparisons.values()]
        shown += [pair.response_b for pair in self.comparisons.values()]
        return {media.sha256: media for each in shown if (media := self.responses[each].media)}

    def let_in(self, token: str, name: str) -> str:
        """Trade an invitation for the token of a session. InvitationError: it opens nothing."""
        session = self.accounts.accept(token, name)
        if token == self.token:
            self.token = self.accounts.invite("annotator")
            self.announce(self.token)
        return session

    def start_pairing(self) -> None:
        """Begin to choose comparisons as if there were no judgement yet."""
        repeat_share = self.settings.repeat_share if self.only is None else 0.0
        self.pairing = Pairing(
            list(self.comparisons.values()), judgements_per_comparison=self.per_comparison, repeat_share=repeat_share
        )
        self.withdraw_former()
        self.last_number = 0

    def withdraw_former(self) -> None:
        """Ask nobody about responses of live policies that have been replaced, unless somebody has begun."""
        if self.policies:
            former = {key for key, response in self.responses.items() if is_former(response.model, self.policies)}
            self.pairing.withdraw(
                each.id for each in self.comparisons.values() if not former.isdisjoint(each.responses)
            )

    def update_pairing(self) -> Pairing:
        """Count the judgements that have come since the last call, ours and those of other processes."""
        with self.pairing_lock:
            self.add_new()
            if self.store.path is None and time.monotonic() - self.last_recount > RECOUNT_SECONDS:
                # PostgreSQL gives out a number before the judgement is stored, so that a lower one of another process
                # may come later. SQLite has one writer. To count takes time that grows with what is there.
                if self.pairing.num_stored != self.store.count_stored():
                    self.start_pairing()
                    self.add_new()
                self.last_recount = time.monotonic()
            return self.pairing

    def add_new(self) -> None:
        """Count what is numbered above the last judgement that was counted."""
        for shown in self.store.shown_after(self.last_number):
            self.pairing.add(shown)
            self.last_number = shown.number

    def count_judged(self) -> int:
        """Count the judgements since the page was opened; with `only`, how many of the wanted ones there are."""
        if self.until_judged and self.wanted is not None:
            return self.wanted - self.count_missing()
        return self.update_pairing().num_judgements - self.num_before

    def count_missing(self) -> int:
        """Count the judgements that the comparisons of this page lack."""
        return self.update_pairing().count_missing(self.per_comparison or 1)

    def next_question(self, person: Person) -> dict[str, Any]:
        """Return what a person judges next, what comes after it, and how far they are; `done` if there is none."""
        num_judged, guesses = self.count_judged(), self.guesses[person.annotator]
        count = SHOWN_AHEAD if self.wanted is None else min(SHOWN_AHEAD, self.wanted - num_judged)
        questions = [self.show(each, guesses) for each in self.assign(person, count)] if count > 0 else []
        progress = {
            "judged": num_judged,
            "wanted": self.wanted,
            "own": len(self.pairing.times[person.annotator]),
            "guesses": guesses.summary(),
            "hits": list(guesses.hits),
        }
        first, following = [*questions, None, None][:2]
        writing = first is None and self.more_comes
        return {"done": first is None, "writing": writing, **(first or {}), "next": following, "progress": progress}

    def assign(self, person: Person, count: int) -> list[Assignment]:
        """Return the next `count` comparisons for a person, by the judgements that `update_pairing` has counted."""
        if self.settings.ask == "conversations":  # everybody judges the answers to their own messages
            return []
        with self.pairing_lock:
            return self.pairing.assign(person.annotator, time.monotonic(), count)

    def skip(self, person: Person, comparison_id: str) -> None:
        """Do not ask a person this comparison again."""
        with self.pairing_lock:
            self.pairing.skip(person.annotator, comparison_id)

    def show(self, assignment: Assignment, guesses: Guesses) -> dict[str, Any]:
        """Return a comparison as it is shown to people, never who made it; let the guesser guess."""
        comparison, (left, right) = self.comparisons[assignment.question.id], assignment.shown
        question = self.describe(comparison, left, right)
        if self.guesser is not None and not question["shown"]["media"]:
            prompt, texts = self.prompts[comparison.prompt_id], (self.responses[each].text for each in (left, right))
            guesses.add(comparison.id, left, self.guesser(prompt, *texts))
        return question

    def describe(self, comparison: Comparison, left: str, right: str) -> dict[str, Any]:
        """Return ids, texts and addresses of media files of a comparison with its sides, never who made them."""
        prompt = self.prompts[comparison.prompt_id]
        sides = {"left": self.responses[left], "right": self.responses[right]}
        media = {
            side: {"url": f"/media/{response.media.sha256}{self.query}", "kind": response.media.kind}
            for side, response in sides.items()
            if response.media
        }
        texts = {side: response.text for side, response in sides.items()}
        html = {side: rendered for side, text in texts.items() if (rendered := render_markdown(text))}
        cut = [side for side, response in sides.items() if response.stop_reason == "length"]
        turns = prompt if isinstance(prompt, list) else None
        shown = {"prompt": to_plain_text(prompt), "turns": turns, **texts, "html": html, "cut": cut, "media": media}
        return {"ids": {"comparison_id": comparison.id, "left": left, "right": right}, "shown": shown}

    def store_answer(
        self,
        person: Person,
        answer: Judgement,
    ) -> Guess | None:
        """Store a judgement as this person's, once for each key; returns how it had been guessed.

        UnknownComparison: ids that do not belong together. Superseded: see `Store.add_judgement`.
        """
        comparison = self.comparisons.get(answer.comparison_id)
        if comparison is None or {answer.left, answer.right} != {comparison.response_a, comparison.response_b}:
            raise UnknownComparison("these responses are not the two sides of this comparison")
        stored = self.store.add_judgement(
            replace(
                answer,
                annotator=person.annotator,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                key=f"{person.annotator}:{answer.key}",
                supersedes=f"{person.annotator}:{answer.supersedes}" if answer.supersedes else None,
            )
        )
        if self.wanted is not None and self.count_judged() >= self.wanted:
            self.when_finished()
        return self.guesses[person.annotator].score(stored)
