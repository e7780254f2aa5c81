"""Keeps comparisons of live policies ready, ahead of the people who judge."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from likelier.errors import LikelierError
from likelier.feedback.projects import Ask
from likelier.files import stable_id
from likelier.generation.process import Generator, NoResponses
from likelier.generation.protocol import Item, Sampled
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.terminal import print_stderr
from likelier.web.room import Room

STOCK = 16
"""Comparisons that nobody has begun, kept ready in each project."""
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
        self.num_comparisons: Counter[str] = Counter()
        """Of each prompt, by the present policies."""
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
        comparisons, responses = list(self.room.comparisons.values()), self.room.responses
        self.num_comparisons = Counter(
            each.prompt_id for each in comparisons if responses[each.response_a].model in names
        )

    def has_more(self) -> bool:
        """True if comparisons of live policies are asked here, and there are prompts for them."""
        is_asked = self.room.settings.ask == "comparisons" and self.room.only is None
        return is_asked and len(self.passed_over) < len(self.room.prompts)

    def count_needed(self) -> int:
        """Return how many prompts are to be answered now."""
        return max(0, STOCK - self.room.pairing.count_unbegun()) if self.has_more() else 0

    def choose_prompts(self, count: int) -> list[str]:
        """Return the ids of the prompts with the fewest comparisons by the present policies."""
        if not count:
            return []
        open_prompts = (each for each in list(self.room.prompts) if each not in self.passed_over)
        return nsmallest(count, open_prompts, key=lambda each: (self.num_comparisons[each], stable_id("live", each)))

    def take(self, prompt_id: str, first: Sampled, second: Sampled) -> list[Response]:
        """Return the two responses to a prompt for a comparison; nothing if they make none."""
        self.num_comparisons[prompt_id] += 1
        if error := first.error or second.error:
            if error != "not_loaded":
                self.passed_over.add(prompt_id)
            return []
        if first.text == second.text:
            self.num_same[prompt_id] += 1
            if self.num_same[prompt_id] >= MAX_SAME:
                self.passed_over.add(prompt_id)
            return []
        if not {first.model, second.model} <= set(self.names):  # loaded anew meanwhile
            return []
        return make_responses(prompt_id, (first, second))


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
        """Add a few comparisons to each project that needs some. False: none does."""
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
        """Have prompts answered twice each, and add the comparisons to the project."""
        items = [
            Item(policy, stock.room.prompts[prompt])
            for prompt in prompts
            for policy in choose_policies(numbers, next(self.turn))
        ]
        try:
            sampled = self.generator.ask(items).result()
        except NoResponses:
            stock.num_comparisons.update(prompts)  # others first: one of these may be what the process died of
            raise
        pairs = [
            responses
            for place, prompt in enumerate(prompts)
            if (responses := stock.take(prompt, *sampled[2 * place : 2 * place + 2]))
        ]
        if pairs:
            add_generated(stock.room, pairs)
        too_long = sum(each.error == "too_long" for each in sampled[::2])
        if too_long and "too_long" not in self.said:
            self.said.add("too_long")
            print_stderr("generation: some prompts leave the policy no room for a response and are passed over")


def choose_policies(numbers: Sequence[int], turn: int) -> tuple[int, int]:
    """Return the two of these policies that answer: the only one twice, or of several each pair in turn."""
    pairs = list(itertools.combinations(numbers, 2)) or [(numbers[0], numbers[0])]
    return pairs[turn % len(pairs)]


def add_generated(
    room: Room, pairs: Sequence[Sequence[Response]], prompts: Sequence[Prompt] = (), author: str = ""
) -> list[Comparison]:
    """Store pairs of responses with their comparisons, and new prompts, which `author` typed.

    From then on the room asks about them.
    """
    made = [Comparison(first.prompt_id, first.id, second.id) for first, second in pairs]
    with room.store.transaction() as writer:
        writer.add_prompts(prompts)
        writer.add_responses(each for pair in pairs for each in pair)
        writer.add_comparisons(made)
        if author:
            writer.add_written([prompt.id for prompt in prompts], author)
    room.ids.add(each.id for pair in pairs for each in pair)
    room.ids.add(each.id for each in made)
    with room.pairing_lock:
        # New tables, not changed ones: other threads go through them, some without the lock.
        room.prompts = room.prompts | {prompt.id: prompt.text for prompt in prompts}
        room.responses = room.responses | {each.id: each for pair in pairs for each in pair}
        room.comparisons = room.comparisons | {each.id: each for each in made}
        if room.kind is Judgement:  # the owner may have changed what is asked
            room.pairing.add_comparisons(made)
    return made


def make_responses(prompt_id: str, sampled: Iterable[Sampled]) -> list[Response]:
    """Return what was sampled as responses to a prompt."""
    return [Response(prompt_id, each.text, each.model, each.stop_reason) for each in sampled]
