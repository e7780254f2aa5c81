"""Keeps comparisons of live policies, or responses to be rated or ranked, ready ahead of the people who judge."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from likelier.errors import LikelierError
from likelier.feedback.projects import Ask
from likelier.feedback.questions import Asked, Question
from likelier.files import stable_id
from likelier.generation.process import Generator, NoResponses
from likelier.generation.protocol import Item, Sampled
from likelier.records import Answer, Comparison, Judgement, Prompt, Response, Text
from likelier.records.messages import place_pictures
from likelier.terminal import print_stderr
from likelier.web.room import Room
from likelier.web.shown import find_media

STOCK = 16
"""Questions that nobody has begun, kept ready in each project."""
PROMPTS_AT_ONCE = 4
LOOK_SECONDS = 0.5
"""How often it is looked whether more are needed: no request of a judge does that."""
MAX_SAME = 3
"""A prompt that was answered so often with the same text twice is asked of this policy no more."""


@dataclass(frozen=True)
class Live:
    """Policies that answer while people judge."""

    generator: Generator
    ask: Ask | None = None
    """What is asked in the store's project, whatever its settings say."""


class ProjectStock:
    """One project's prompts, and how often the present policies have answered each."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.names: tuple[str, ...] = ()
        self.num_questions: Counter[str] = Counter()
        """Of each prompt, about the present policies."""
        self.num_same: Counter[str] = Counter()
        self.passed_over: set[str] = set()
        """Prompts that the present policies cannot answer."""

    def begin(self, names: tuple[str, ...]) -> None:
        """Ask nobody about answers of former policies any more, and count those of the present ones."""
        self.names = names
        with self.room.pairing_lock:
            self.room.policies = names
            self.room.withdraw_former()
        self.num_same, self.passed_over = Counter(), set()
        questions, responses = list(self.room.pairing.questions), self.room.responses
        self.num_questions = Counter(
            each.prompt_id for each in questions if responses[each.responses[0]].model in names
        )

    def has_more(self) -> bool:
        """True if people are asked here about answers to prompts, and there are prompts for more."""
        is_asked = self.room.settings.ask != "conversations" and self.room.only is None
        return is_asked and len(self.passed_over) < len(self.room.prompts)

    def count_responses(self) -> int:
        """Return how many responses a question here has."""
        return {"ratings": 1, "rankings": self.room.settings.responses_per_ranking}.get(self.room.settings.ask, 2)

    def count_needed(self) -> int:
        """Return how many prompts are to be answered now."""
        return max(0, STOCK - self.room.pairing.count_unbegun()) if self.has_more() else 0

    def choose_prompts(self, count: int) -> list[str]:
        """Return the ids of the prompts with the fewest questions about the present policies."""
        if not count:
            return []
        open_prompts = (each for each in list(self.room.prompts) if each not in self.passed_over)
        return nsmallest(count, open_prompts, key=lambda each: (self.num_questions[each], stable_id("live", each)))

    def take(self, prompt_id: str, sampled: Sequence[Sampled]) -> tuple[Asked, list[Response]] | None:
        """Return a question about responses to a prompt, with these; None if they make none that is new."""
        self.num_questions[prompt_id] += 1
        if error := next((each.error for each in sampled if each.error), ""):
            if error != "not_loaded":
                self.passed_over.add(prompt_id)
            return None
        responses = list({each.text: each for each in make_responses(prompt_id, sampled)}.values())
        question = make_question(self.room.kind, responses) if len(responses) >= min(2, len(sampled)) else None
        if question is None or question.id in self.room.pairing.indices:
            self.num_same[prompt_id] += 1
            if self.num_same[prompt_id] >= MAX_SAME:
                self.passed_over.add(prompt_id)
            return None
        if not {each.model for each in responses} <= set(self.names):  # loaded anew meanwhile
            return None
        return question, responses


class LiveStock:
    """A thread that fills the stocks of all open projects."""

    def __init__(self, generator: Generator, list_rooms: Callable[[], Iterable[Room]]) -> None:
        self.generator, self.list_rooms = generator, list_rooms
        self.stocks: dict[str, ProjectStock] = {}
        self.turn = itertools.count()
        self.ended = threading.Event()
        self.said: set[str] = set()
        self.thread = threading.Thread(target=self.keep, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def close(self) -> None:
        """End the thread; the generator is closed before, so that it waits for nothing."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join(5.0)

    def keep(self) -> None:
        """Fill the stocks until the end; what fails is said once, and tried again."""
        while not self.ended.wait(LOOK_SECONDS):
            try:
                while self.fill() and not self.ended.is_set():
                    pass
            except LikelierError as error:
                if str(error) not in self.said and not self.ended.is_set():
                    self.said.add(str(error))
                    print_stderr(f"generation: {error}")

    def fill(self) -> bool:
        """Add a few questions to each project that needs some. False: none does."""
        names, numbers = self.generator.list_names(), sorted(self.generator.current)
        has_filled = False
        for room in self.list_rooms():
            stock = self.stocks.setdefault(room.store.project, ProjectStock(room))
            if names and stock.names != names:
                stock.begin(names)
            room.more_comes = stock.has_more() and not self.generator.is_hopeless()
            needed = min(stock.count_needed(), PROMPTS_AT_ONCE) if names and numbers else 0
            if prompts := stock.choose_prompts(needed):
                self.answer(stock, prompts, numbers)
                has_filled = True
        return has_filled

    def answer(self, stock: ProjectStock, prompts: Sequence[str], numbers: Sequence[int]) -> None:
        """Have prompts answered as often as a question asks for, and add the questions to the project."""
        count, kind = stock.count_responses(), stock.room.kind
        items = [
            Item(policy, find_pictures(stock.room, prompt))
            for prompt in prompts
            for policy in choose_policies(numbers, next(self.turn), count)
        ]
        try:
            sampled = self.generator.ask(items).result()
        except NoResponses:
            stock.num_questions.update(prompts)  # others first: one of these may be what the process died of
            raise
        if stock.room.kind is not kind:  # the owner has changed what is asked
            return
        made = [stock.take(each, sampled[count * place : count * (place + 1)]) for place, each in enumerate(prompts)]
        if taken := [each for each in made if each]:
            add_generated(stock.room, [question for question, _ in taken], [each for _, some in taken for each in some])
        too_long = sum(each.error == "too_long" for each in sampled[::count])
        if too_long and "too_long" not in self.said:
            self.said.add("too_long")
            print_stderr("generation: some prompts leave the policy no room for a response and are passed over")


def choose_policies(numbers: Sequence[int], turn: int, count: int = 2) -> tuple[int, ...]:
    """Return the policies that give `count` answers: one alone each time, of several another group in each turn."""
    groups = list(itertools.combinations(numbers, count)) or [tuple(itertools.islice(itertools.cycle(numbers), count))]
    return groups[turn % len(groups)]


def add_generated(
    room: Room, made: Sequence[Asked], responses: Sequence[Response], prompts: Sequence[Prompt] = (), author: str = ""
) -> None:
    """Store questions with their responses, and new prompts, which `author` typed; from then on the room asks them."""
    compared = [each for each in made if isinstance(each, Comparison)]
    with room.store.transaction() as writer:
        writer.add_prompts(prompts)
        writer.add_responses(responses)
        writer.add_comparisons(compared)
        if author:
            writer.add_written([prompt.id for prompt in prompts], author)
    room.ids.add(each.id for each in (*responses, *made))
    with room.pairing_lock:
        # New tables, not changed ones: other threads go through them, some without the lock.
        room.prompts = room.prompts | {prompt.id: prompt.text for prompt in prompts}
        room.responses = room.responses | {each.id: each for each in responses}
        room.media = room.media | find_media(room.prompts, responses)
        room.comparisons = room.comparisons | {each.id: each for each in compared}
        asks_comparisons = room.kind is Judgement  # the owner may have changed what is asked
        room.pairing.add_comparisons(each for each in made if isinstance(each, Comparison) == asks_comparisons)


def find_pictures(room: Room, prompt_id: str) -> Text:
    """Return a prompt with the places of its pictures' files, for a model to answer."""
    folder = room.store.media_folder
    return place_pictures(room.prompts[prompt_id], lambda picture: str(folder.path_of(picture["sha256"])))


def make_question(kind: type[Answer], responses: Sequence[Response]) -> Asked:
    """Return the question about responses to one prompt to which people give answers of a kind."""
    ids = [each.id for each in responses]
    prompt_id = responses[0].prompt_id
    return Comparison(prompt_id, ids[0], ids[1]) if kind is Judgement else Question(prompt_id, tuple(ids))


def make_responses(prompt_id: str, sampled: Iterable[Sampled]) -> list[Response]:
    """Return what was sampled as responses to a prompt."""
    return [Response(prompt_id, each.text, each.model, each.stop_reason) for each in sampled]
