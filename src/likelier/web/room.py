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
from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.pairing import LEASE_SECONDS, Pairing
from likelier.feedback.projects import Ask, read_gold, read_guidelines, read_settings
from likelier.feedback.questions import (
    TRAINING,
    Asked,
    Assignment,
    make_ranking_questions,
    make_rating_questions,
    question_id,
    to_shown,
)
from likelier.feedback.screens import Screen, keep_screens, make_screen, read_screens, read_skips
from likelier.feedback.secret import read_secret
from likelier.feedback.shown import count_since, find_current
from likelier.feedback.store import Store, Stored
from likelier.feedback.tables import DEFAULT_PROJECT
from likelier.feedback.writer import A
from likelier.generation.policies import is_former
from likelier.records import Answer, Comparison, Judgement, Media, Ranking, Rating, Text
from likelier.web.answers import check_reasons, check_subject
from likelier.web.guesses import Guess, Guesses
from likelier.web.ids import PageIds, UnfitAnswer
from likelier.web.markdown import render_all
from likelier.web.run_status import RunStatus
from likelier.web.shown import describe_question, find_media, is_text

Guesser = Callable[[Text, str, str], float]
"""(prompt, left, right) to the probability that the left response wins."""
SHOWN_AHEAD = 2
"""Questions sent at once: the next one is in the browser before it is asked for."""
RECOUNT_SECONDS = 60.0
"""How often judgements of other processes in a PostgreSQL database are looked for that came late."""


class Room:
    """The store, its accounts, and the assignment of comparisons to people.

    `announce(token)` is called with each link's token, a new one as soon as the last was used; `when_finished` once
    there are `wanted` judgements. With `only`, ids of comparisons, nothing else is asked and nobody is asked one twice;
    `wanted` is then at most what these lack until `per_comparison` different people have judged each.
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
        self.ids = PageIds(read_secret(store, "page ids"), store.project)
        self.given_per_comparison, self.given_ask, self.accounts = per_comparison, ask, Accounts(store)
        self.announce: Callable[[str], object] = lambda token: None
        self.when_finished: Callable[[], object] = lambda: None
        self.guesses: defaultdict[str, Guesses] = defaultdict(Guesses)
        self.query = "" if store.project == DEFAULT_PROJECT else f"?{urlencode({'project': store.project})}"
        """Of addresses of files that belong to this project."""
        self.policies: tuple[str, ...] = ()
        """Names of the live policies of this moment."""
        self.more_comes = False
        """More questions come as these are answered: from live policies, or from PPO."""
        self.run: RunStatus | None = None  # that the page is beside of
        self.strategy = ""  # what chooses new comparisons; empty: chance
        self.asked: frozenset[str] | None = None  # ids of the only responses to rate; None: all
        self.pairing_lock, self.pairing, self.last_recount = threading.Lock(), Pairing([]), 0.0
        self.asking, self.num_asked, self.num_served = threading.Lock(), 0, 0
        self.num_counted = 0
        """How many of the answers that this process has added are counted."""
        self.kind: type[Answer] = Judgement
        """What people give here."""
        self.load()
        self.num_before = self.pairing.num_judgements
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
                gold = read_gold(connection, self.store.project) if self.only is None else {}
            self.guideline = versions[-1] if versions else None
            self.training = {each: item for each, item in gold.items() if item.kind == TRAINING}
            self.gold = gold.keys() - self.training.keys()
            self.prompts = {prompt.id: prompt.text for prompt in self.store.prompts()}
            self.responses = {response.id: response for response in self.store.responses()}
            comparisons = {comparison.id: comparison for comparison in self.store.comparisons()}
            self.comparisons = comparisons if self.only is None else {each: comparisons[each] for each in self.only}
            self.per_comparison = self.given_per_comparison or self.settings.per_comparison
            asked_before, self.kind = self.kind, self.choose_kind()
            self.start_pairing()
            self.ids.add([*self.responses, *self.comparisons, *self.pairing.indices])
            self.media = self.find_media()
            if asked_before is not self.kind:
                self.num_before = self.pairing.num_judgements

    def choose_kind(self) -> type[Answer]:
        """Return what people give here."""
        kinds: dict[str, type[Answer]] = {"ratings": Rating, "rankings": Ranking}
        return kinds.get(self.settings.ask, Judgement) if self.only is None else Judgement

    def list_questions(self) -> list[Asked]:
        """Return all that is asked here."""
        if self.kind is Rating:
            return list(make_rating_questions(self.responses.values()))
        if self.kind is Ranking:
            ranked = [shown.shown for shown in self.store.shown_after(0, Ranking)]
            return list(make_ranking_questions(self.responses.values(), self.settings.responses_per_ranking, ranked))
        return list(self.comparisons.values())

    def find_media(self) -> dict[str, Media]:
        """Return the media files that this page may show."""
        questions: list[Asked] = [*self.comparisons.values(), *self.pairing.questions]
        shown = {each for question in questions for each in question.responses}
        return find_media(self.prompts, [self.responses[each] for each in shown])

    def let_in(self, token: str, name: str, own: str | None = None) -> str:
        """Trade an invitation for the token of a session, as `Accounts.accept` does."""
        session = self.accounts.accept(token, name, own)
        if token == self.token:
            self.token = self.accounts.invite("annotator")
            self.announce(self.token)
        return session

    def start_pairing(self) -> None:
        """Begin to choose questions by all answers that are stored; what is on people's screens stays theirs."""
        earlier, is_whole = self.pairing, self.only is None
        self.pairing = Pairing(
            self.list_questions(),
            judgements_per_comparison=self.per_comparison,
            repeat_share=self.settings.repeat_share if is_whole else 0.0,
            gold=sorted(self.gold),
            training=list(self.training),
            gold_share=self.settings.gold_share,
        )
        self.withdraw_former()
        self.last_number = 0
        self.add_new()
        with self.store.reading() as connection:
            for annotator, question_id in read_skips(connection, self.store.project):
                self.pairing.skip(annotator, question_id)
            screens = [] if earlier.questions else read_screens(connection, self.store.project, time.time())
        for screen in screens:  # of the server before a restart
            for held in screen.held:
                self.pairing.hold_again(screen.annotator, *held, time.monotonic() + screen.ends_at - time.time())
        self.pairing.take_over(earlier)

    def withdraw_former(self) -> None:
        """Ask nobody about responses of former live policies, or earlier steps of PPO, unless somebody has begun."""
        if self.asked is not None:
            self.pairing.withdraw(each.id for each in self.pairing.questions if self.asked.isdisjoint(each.responses))
        if self.policies:
            former = {key for key, response in self.responses.items() if is_former(response.model, self.policies)}
            self.pairing.withdraw(each.id for each in self.pairing.questions if not former.isdisjoint(each.responses))

    def update_pairing(self) -> Pairing:
        """Count the answers that have come since the last call, ours and those of other processes.

        Whoever waits meanwhile is served by one more look at the database: it begins after they asked. Nobody else
        adds to a SQLite file: with all of ours counted, there is nothing to look for.
        """
        if self.store.path and self.num_counted == self.store.database.num_answers[self.store.project]:
            self.store.database.check_in_place()
            return self.pairing
        with self.asking:
            self.num_asked += 1
            number = self.num_asked
        with self.pairing_lock:
            if self.num_served >= number:
                return self.pairing
            self.num_served = self.num_asked
            self.add_new()
            if self.store.path is None and time.monotonic() - self.last_recount > RECOUNT_SECONDS:
                # PostgreSQL gives out a number before the judgement is stored, so that a lower one of another process
                # may come later. SQLite has one writer. To count takes time that grows with what is there.
                if self.pairing.num_stored != self.store.count_stored(self.kind):
                    self.start_pairing()
                self.last_recount = time.monotonic()
            return self.pairing

    def count_own(self, stored: Stored[Any]) -> None:
        """Count an answer that was just stored if all before it are counted; otherwise a look at the database does."""
        with self.pairing_lock:
            if stored.number and stored.num_added == self.num_counted + 1:
                self.num_counted = stored.num_added
                is_new = stored.number > self.last_number  # a look that began before may have seen it
                if is_new and isinstance(stored.answer, self.kind):
                    self.pairing.add(to_shown(stored.answer, stored.number))
                    self.last_number = stored.number

    def add_new(self) -> None:
        """Count what is numbered above the last answer that was counted."""
        self.num_counted = self.store.database.num_answers[self.store.project]
        for shown in self.store.shown_after(self.last_number, self.kind):
            self.pairing.add(shown)
            self.last_number = shown.number

    def count_judged(self) -> int:
        """Count the answers since the page was opened; with `only`, how many of the wanted ones there are."""
        if self.until_judged and self.wanted is not None:
            return self.wanted - self.count_missing()
        return self.update_pairing().num_judgements - self.num_before

    def count_missing(self) -> int:
        """Count the answers that the questions of this page lack."""
        return self.update_pairing().count_missing(self.per_comparison or 1)

    def next_question(self, person: Person) -> dict[str, Any]:
        """Return what a person answers next, what comes after it, and how far they are; `done` if there is none."""
        num_judged, guesses = self.count_judged(), self.guesses[person.annotator]
        count = SHOWN_AHEAD if self.wanted is None else min(SHOWN_AHEAD, self.wanted - num_judged)
        questions = [self.show(each, person) for each in self.assign(person, count)] if count > 0 else []
        shows_totals = self.settings.show_totals
        progress = {
            "judged": num_judged + (self.num_before if self.wanted is None else 0) if shows_totals else None,
            "wanted": self.wanted if shows_totals else None,
            "own": len(self.pairing.times[person.annotator]),
            "guideline": self.guideline.version if self.guideline else None,
            "guesses": guesses.summary(),
            "hits": list(guesses.hits),
        }
        first, following = [*questions, None, None][:2]
        about = {"done": first is None, "writing": first is None and self.more_comes, "next": following}
        about |= {"run": self.run.tell(person.annotator)} if self.run else {}
        return {**about, **(first or {}), "progress": progress}

    def assign(self, person: Person, count: int) -> list[Assignment]:
        """Return the next `count` questions for a person, by the answers that `update_pairing` has counted."""
        # Everybody judges the answers to their own messages.
        if self.settings.ask == "conversations" or (self.run and self.run.is_over):
            return []
        with self.pairing_lock:
            return self.pairing.assign(person.annotator, time.monotonic(), count)

    def skip(self, person: Person, question_id: str) -> None:
        """Do not ask a person this question, by the page's id, again; one that is asked no more is passed over."""
        stored_id = self.ids.stored.get(question_id)
        if stored_id is not None:
            self.store.add_skip(person.annotator, stored_id)
            with self.pairing_lock:
                self.pairing.skip(person.annotator, stored_id)

    def take_screens(self) -> list[Screen]:
        """Return what has come onto people's screens since the last call, to be stored."""
        ends_at = time.time() + LEASE_SECONDS
        with self.pairing_lock:
            changed, self.pairing.changed = self.pairing.changed, set()
            return [make_screen(each, self.pairing.held[each], ends_at) for each in sorted(changed)]

    def close(self) -> None:
        """Store what is on people's screens."""
        if screens := self.take_screens():
            with self.store.transaction() as writer:
                keep_screens(writer, screens)

    def show(self, assignment: Assignment, person: Person) -> dict[str, Any]:
        """Return a question as it is shown to a person, with their ticket to answer it; let the guesser guess.

        A training item says that it is one. A gold item is in nothing different from an ordinary question.
        """
        question, prompt = assignment.question, self.prompts[assignment.question.prompt_id]
        described = describe_question(question, assignment.shown, prompt, self.responses, self.ids, self.query)
        note = assignment.draw.to_text() if assignment.draw else ""
        described["ids"]["ticket"] = self.ids.make_ticket(person.annotator, question.id, note)
        if question.id in self.training:
            number = list(self.training).index(question.id) + 1
            return described | {"training": {"number": number, "of": len(self.training)}}
        if self.guesser is not None and isinstance(question, Comparison) and is_text(described["shown"]):
            left, right = assignment.shown
            texts = (self.responses[each].text for each in (left, right))
            self.guesses[person.annotator].add(question.id, left, self.guesser(prompt, *texts))
        return described

    def describe(self, comparison: Comparison, left: str, right: str) -> dict[str, Any]:
        """Return a comparison as it is shown to people, with its sides."""
        prompt = self.prompts[comparison.prompt_id]
        return describe_question(comparison, (left, right), prompt, self.responses, self.ids, self.query)

    def check_given(self, person: Person, asked: str, ticket: str | None) -> Draw | None:
        """Return how a question was drawn. UnfitAnswer: it was not given to this person."""
        if ticket is not None:
            note = self.ids.check_ticket(ticket, person.annotator, asked)
            return Draw.from_text(note) if note else self.pairing.find_draw(asked)
        with self.pairing_lock:
            is_held = any(each.question.id == asked for each in self.pairing.held[person.annotator])
            if not (is_held or self.pairing.times[person.annotator][asked]):
                raise UnfitAnswer("ticket: this question was not given to you")
            return self.pairing.find_draw(asked)

    def store_answer(self, person: Person, answer: Judgement) -> Guess | None:
        """Store a judgement as `add_answer` does; returns how it had been guessed."""
        return self.guesses[person.annotator].score(self.add_answer(person, answer))

    def add_answer(self, person: Person, answer: A, draw: Draw | None = None) -> A:
        """Store an answer as this person's, once for each key, with the draw of its comparison; returns what is stored.

        UnfitAnswer: ids that do not belong together, or tags or guidelines that are not of the project. Superseded: see
        `Store.add_answer`.
        """
        check_subject(answer, self.comparisons, self.responses)
        check_reasons(answer.extra, self.settings)
        supersedes = f"{person.annotator}:{answer.supersedes}" if answer.supersedes else None
        if isinstance(answer, Judgement) and not (supersedes or answer.adjudicates):
            supersedes = self.find_double(person, answer)
        elif not (isinstance(answer, Judgement) or supersedes):
            supersedes = self.find_given(person, answer)
        is_lesson = isinstance(answer, Judgement) and answer.comparison_id in self.training and not answer.adjudicates
        more = ({TRAINING: True} if is_lesson else {}) | ({ASKED: draw._asdict()} if draw else {})
        stored = self.store.store_answer(
            replace(
                answer,
                annotator=person.annotator,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                key=f"{person.annotator}:{answer.key}",
                supersedes=supersedes,
                guideline=self.check_guideline(answer.guideline),
                extra=answer.extra | more,
            ),
            self.take_screens(),
        )
        self.count_own(stored)
        if self.wanted is not None and self.count_judged() >= self.wanted:
            self.when_finished()
        return stored.answer

    def find_double(self, person: Person, answer: Judgement) -> str | None:
        """Return the key of the person's earlier answer to the same sides in the same order; None if there is none.

        Two tabs or two devices of one person show the same questions, and nobody votes twice: the later answer
        supersedes the earlier one. A repeat that measures self-agreement has its sides reversed.
        """
        with self.pairing_lock:
            subject = answer.comparison_id, (answer.left, answer.right)
            if subject not in self.pairing.own[person.annotator]:
                return None
        for known in self.store.judgements_of([answer.comparison_id]):
            is_same = (known.annotator, known.left, known.right) == (person.annotator, answer.left, answer.right)
            if is_same and not known.adjudicates and known.key != f"{person.annotator}:{answer.key}":
                return known.key
        return None

    def find_given(self, person: Person, answer: Rating | Ranking) -> str | None:
        """Return the key of the person's earlier answer to a question that is not asked them now; None without one.

        As `find_double`, but a repeat of a rating looks like the first: it is one if it is on this person's screen.
        """
        asked, annotator = question_id(answer), person.annotator
        with self.pairing_lock:
            is_asked = any(each.question.id == asked for each in self.pairing.held[annotator])
        if is_asked or not self.pairing.times[annotator][asked]:
            return None
        with self.store.reading() as connection:
            key = find_current(connection, self.store.project, answer, annotator)
        return None if key is None or key.endswith(f"{annotator}:{answer.key}") else key

    def check_guideline(self, version: str) -> str:
        """Return the version of the guidelines that was shown, by default the newest. UnfitAnswer: no such version."""
        newest = self.guideline.version if self.guideline else 0
        if not version:
            return str(newest) if newest else ""
        if not 1 <= int(version) <= newest:
            raise UnfitAnswer(f"guideline: there is no version {version}")
        return str(int(version))

    def make_lesson(self, stored: Judgement) -> dict[str, Any] | None:
        """Return the owner's choice and reason for a training item that was answered; None for other answers."""
        item = self.training.get(stored.comparison_id)
        if item is None or not stored.extra.get(TRAINING):
            return None
        better = "tie" if item.better is None else "left" if item.better == stored.left else "right"
        return {"better": better, "html": render_all(item.explanation)}

    def count_since(self, person: Person, seconds: float) -> int:
        """Count a person's answers since a time, in seconds since 1970."""
        since = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
        with self.store.reading() as connection:
            return count_since(connection, self.store.project, self.kind, person.annotator, since)
