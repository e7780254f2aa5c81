"""Assignment of questions to annotators: the next one, its order, repeats that measure self-agreement, gold items.

A question is a comparison, a response to be rated, or several to be put in order. Deterministic given the seed and the
answers so far.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.draws import Draw, Priorities
from likelier.feedback.inclusion import draw_new
from likelier.feedback.questions import Asked, Assignment, Shown, to_shown
from likelier.files import stable_id
from likelier.records import Judgement

REPEAT_SHARE = 0.05
"""Fraction of an annotator's questions that repeat an earlier one."""
LEASE_SECONDS = 600.0
"""How long a question that is on somebody's screen is kept for them."""
WITHDRAWN, APART = -1, -2
"""Levels of a question that was withdrawn before anybody answered it, and of gold and training items, which everybody
is asked whoever else answered them."""


class Pairing:
    """Chooses what each annotator answers next, from counts updated with each answer.

    Items of `training` come first, each once. Then, with probability `repeat_share`, it is a repeat of a question that
    they answered at least `repeat_gap` answers ago, in reversed order, at most once each; with probability `gold_share`
    one of `gold`, while there are such; otherwise the question with the fewest annotators among those that they have
    not answered. With `judgements_per_comparison`, each is answered by that many annotators, and started questions come
    first: otherwise, with few answers to many questions, annotators would hardly overlap.

    A question that was assigned is leased: it counts as answered when others are given theirs, until it is answered,
    skipped, or the lease expires. The cost of a question grows with the questions alone, by some nanoseconds each.
    """

    def __init__(
        self,
        questions: Sequence[Asked],
        seed: int = 0,
        judgements_per_comparison: int | None = None,
        repeat_share: float = REPEAT_SHARE,
        repeat_gap: int = 10,
        gold: Collection[str] = (),
        training: Sequence[str] = (),
        gold_share: float = 0.0,
    ) -> None:
        self.questions, self.seed, self.limit = list(questions), seed, judgements_per_comparison
        self.repeat_share, self.repeat_gap, self.gold_share = repeat_share, repeat_gap, gold_share
        self.indices = {question.id: index for index, question in enumerate(self.questions)}
        self.training = [self.indices[each] for each in training if each in self.indices]
        self.gold = [self.indices[each] for each in gold if each in self.indices]
        apart = {*self.training, *self.gold}
        self.levels = array("q", [APART if index in apart else 0 for index in range(len(self.questions))])
        """How many different people have answered each question, or hold a lease of it."""
        self.num_of_level = Counter(level for level in self.levels if level != APART)
        self.num_people = [0] * len(self.questions)
        """How many different people have answered each question."""
        self.num_answered_by = Counter(self.num_of_level)
        self.num_shown = [0] * len(self.questions)
        self.excess_left = [0] * len(self.questions)
        """How often each question's first response was the first shown, less how often the last."""
        self.own: defaultdict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        """Each annotator's answers in their order: question, responses as shown."""
        self.times: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How often each annotator has answered each question."""
        self.seen: defaultdict[str, bytearray] = defaultdict(lambda: bytearray(len(self.questions)))
        """1 for what an annotator has answered, skipped, or holds a lease of."""
        self.held: defaultdict[str, list[Assignment]] = defaultdict(list)
        """What each annotator was assigned and has not answered, in order."""
        self.changed: set[str] = set()
        """Annotators who were given something since somebody emptied this set."""
        self.leases: dict[tuple[str, int], float] = {}
        """When each lease ends, by annotator and question, the first to end first."""
        self.withdrawn: set[int] = set()
        """Questions that nobody has answered and that are given to nobody any more."""
        self.skipped: set[tuple[str, str]] = set()
        """Annotators with questions that they skipped."""
        self.priorities: Priorities | None = None
        self.weights = array("d", bytes(8 * len(self.questions)))
        """Of `priorities`, by question."""
        self.draws: dict[int, Draw] = {}
        """How questions were drawn that were begun under `priorities`."""
        self.num_judgements = 0
        """Of those that count: none for training, none that supersedes another, which was counted itself."""
        self.num_stored = 0

    def add_comparisons(self, comparisons: Iterable[Asked]) -> None:
        """Add comparisons, or other questions, that were made meanwhile; known ones are left as they are."""
        for comparison in comparisons:
            if comparison.id in self.indices:
                continue
            self.indices[comparison.id] = len(self.questions)
            self.questions.append(comparison)
            self.levels.append(0)
            self.weights.append(self.priorities.weights.get(comparison.id, 0.0) if self.priorities else 0.0)
            for seen in self.seen.values():
                seen.append(0)
            for counts in (self.num_people, self.num_shown, self.excess_left):
                counts.append(0)
            self.num_of_level[0] += 1
            self.num_answered_by[0] += 1

    def prioritise(self, priorities: Priorities | None) -> None:
        """Draw new questions by these weights from now on; None: each with the same chance, and note no draws."""
        self.priorities = priorities
        self.weights = array("d", bytes(8 * len(self.questions)))
        for question_id, weight in priorities.weights.items() if priorities else ():
            if question_id in self.indices:
                self.weights[self.indices[question_id]] = weight

    def withdraw(self, question_ids: Iterable[str]) -> None:
        """Give questions to nobody any more, unless somebody has answered them: these are asked to their full number.

        Whoever holds one already may still answer; it then counts as any other.
        """
        for index in (self.indices[each] for each in question_ids if each in self.indices):
            if not self.num_people[index] and self.levels[index] != APART:
                self.withdrawn.add(index)
                self.change_level(index, 0)

    def ask_again(self, question_ids: Iterable[str]) -> None:
        """Give questions that were withdrawn to people again."""
        for index in self.withdrawn & {self.indices[each] for each in question_ids if each in self.indices}:
            self.withdrawn.discard(index)
            self.change_level(index, 0)

    def count_unbegun(self) -> int:
        """Count the questions that are on nobody's screen and that nobody has answered."""
        return self.num_of_level[0]

    def add(self, answer: Judgement | Shown) -> None:
        """Count an answer; to an unknown question it counts only towards the annotator's repeat gap."""
        shown = to_shown(answer) if isinstance(answer, Judgement) else answer
        self.num_stored += 1
        if shown.supersedes:
            return
        if held := self.held[shown.annotator]:
            self.held[shown.annotator] = [each for each in held if each.question.id != shown.question_id]
        index = self.indices.get(shown.question_id)
        if not shown.training:
            self.num_judgements += 1
            self.own[shown.annotator].append((shown.question_id, shown.shown))
            self.times[shown.annotator][shown.question_id] += 1
        if index is None:
            return
        is_first = self.times[shown.annotator][shown.question_id] == 1
        if not shown.training:
            self.count_shown(index, shown, is_first)
        if self.leases.pop((shown.annotator, index), None) is None and (is_first or shown.training):
            self.seen[shown.annotator][index] = 1
            if not shown.training:
                self.change_level(index, 1)

    def count_shown(self, index: int, shown: Shown, is_first: bool) -> None:
        """Count one more answer to a question, and one more person if it is their first."""
        self.num_shown[index] += 1
        self.excess_left[index] += 1 if shown.shown[0] == self.questions[index].responses[0] else -1
        if is_first and self.levels[index] != APART:
            self.withdrawn.discard(index)
            self.num_answered_by[self.num_people[index]] -= 1
            self.num_people[index] += 1
            self.num_answered_by[self.num_people[index]] += 1

    def change_level(self, index: int, change: int) -> None:
        """Count one annotator more, or less, at a question."""
        if self.levels[index] == APART:
            return
        self.num_of_level[self.levels[index]] -= 1
        level = max(0, self.levels[index]) + change
        self.levels[index] = WITHDRAWN if level == 0 and index in self.withdrawn else level
        self.num_of_level[self.levels[index]] += 1

    def assign(self, annotator: str, now: float, count: int = 1) -> list[Assignment]:
        """Return what an annotator holds, with new questions up to `count`; fewer if there are no more for them.

        `now` is in seconds. All that they hold is leased for `LEASE_SECONDS` from now on.
        """
        self.end_leases(now)
        held = self.held[annotator]
        for assignment in held:
            self.lease(annotator, assignment, now + LEASE_SECONDS)
        while len(held) < count and (new := self.next_question(annotator)):
            self.hold(annotator, new, now + LEASE_SECONDS)
        return held[:count]

    def hold(self, annotator: str, assignment: Assignment, end: float) -> None:
        """Give an annotator a question until `end`."""
        self.held[annotator].append(assignment)
        self.changed.add(annotator)
        self.lease(annotator, assignment, end)

    def hold_again(
        self, annotator: str, question_id: str, shown: tuple[str, ...], repeat: bool, draw: Draw | None, end: float
    ) -> None:
        """Give back what was on an annotator's screen before a restart, unless they have answered or skipped it."""
        index, is_open = self.indices.get(question_id), self.times[annotator][question_id] == int(repeat)
        if index is None or not is_open or (annotator, question_id) in self.skipped:
            return
        if set(shown) == set(self.questions[index].responses) and (repeat or not self.seen[annotator][index]):
            if draw:
                self.draws[index] = draw
            self.hold(annotator, Assignment(self.questions[index], shown, repeat, draw), end)

    def lease(self, annotator: str, assignment: Assignment, end: float) -> None:
        """Begin or renew the lease of a question; a repeat needs none, since its annotator is counted already."""
        index = self.indices[assignment.question.id]
        if assignment.repeat:
            return
        if self.leases.pop((annotator, index), None) is None:
            self.seen[annotator][index] = 1
            self.change_level(index, 1)
        self.leases[annotator, index] = end  # at the end of the table, which so stays sorted

    def end_leases(self, now: float) -> None:
        """Give back what nobody answered in time."""
        while self.leases and (first := next(iter(self.leases.items())))[1] <= now:
            (annotator, index), _ = first
            del self.leases[annotator, index]
            self.seen[annotator][index] = 0
            self.held[annotator] = [
                held for held in self.held[annotator] if held.question.id != self.questions[index].id
            ]
            self.change_level(index, -1)

    def skip(self, annotator: str, question_id: str) -> None:
        """Give back a question that an annotator cannot answer; they are not asked it again."""
        index = self.indices.get(question_id)
        held = self.held[annotator]
        self.held[annotator] = [each for each in held if each.question.id != question_id]
        self.skipped.add((annotator, question_id))
        if index is None:
            return
        self.seen[annotator][index] = 1  # after a restart of the server nobody holds a lease of it
        if self.leases.pop((annotator, index), None) is not None:
            self.change_level(index, -1)

    def take_over(self, earlier: "Pairing") -> None:
        """Keep what is on people's screens, and what they skipped, where the questions are still there."""
        for annotator, held in earlier.held.items():
            self.held[annotator] = [each for each in held if each.question.id in self.indices]
        for (annotator, earlier_index), end in earlier.leases.items():
            index = self.indices.get(earlier.questions[earlier_index].id)
            if index is not None:
                self.seen[annotator][index] = 1
                self.change_level(index, 1)
                self.leases[annotator, index] = end
        for annotator, question_id in earlier.skipped:
            self.skip(annotator, question_id)
        self.add_draws({earlier.questions[index].id: draw for index, draw in earlier.draws.items()})
        if earlier.priorities:
            self.prioritise(earlier.priorities)

    def add_draws(self, draws: Mapping[str, Draw]) -> None:
        """Take over how questions were drawn, by their ids."""
        self.draws |= {self.indices[each]: draw for each, draw in draws.items() if each in self.indices}

    def find_draw(self, question_id: str) -> Draw | None:
        """Return how a question was drawn; None if the chance of each was the same."""
        return self.draws.get(self.indices.get(question_id, -1))

    def next_question(self, annotator: str) -> Assignment | None:
        """Return the annotator's next question; None if there is none left for them."""
        # A hash, not a generator's state: whoever reloads the page or restarts the server gets the same one again.
        num_before = len(self.own[annotator]) + len(self.held[annotator])
        seen = self.seen[annotator]
        for index in self.training:
            if not seen[index]:
                return self.make_assignment(index)
        if hash_uniform("repeat?", self.seed, annotator, num_before) < self.repeat_share:
            question_id, shown = self.find_repeatable(annotator) or ("", ())
            if question_id in self.indices:
                return Assignment(
                    self.questions[self.indices[question_id]], shown[::-1], True, self.find_draw(question_id)
                )
        firsts = (self.find_next(annotator, level, num_before) for level in self.list_eligible_levels())
        ordinary = next((index for index in firsts if index is not None), None)
        if ordinary is None:
            return None
        is_gold = hash_uniform("gold?", self.seed, annotator, num_before) < self.gold_share
        gold = self.find_gold(annotator) if is_gold else None
        return self.make_assignment(ordinary if gold is None else gold)

    def make_assignment(self, index: int) -> Assignment:
        """Return a question in the order that was shown less often."""
        return Assignment(self.questions[index], self.choose_order(index), draw=self.draws.get(index))

    def find_gold(self, annotator: str) -> int | None:
        """Return one of the gold items that an annotator has not answered, in an order of their own."""
        left = [index for index in self.gold if not self.seen[annotator][index]]
        return min(left, key=lambda index: stable_id("gold", annotator, self.questions[index].id), default=None)

    def find_next(self, annotator: str, level: int, num_before: int) -> int | None:
        """Return the index of a question of a level that an annotator has not seen; None: there is none.

        The first in their own order, but of those that nobody has begun what the priorities say.
        """
        eligible = self.list_eligible(annotator, level)
        if not len(eligible):
            return None
        first = int(shuffle_keys(eligible, int(stable_id("order", self.seed, annotator), 16)).argmin())
        if level == 0 and self.priorities:
            coin, place = (hash_uniform(name, self.seed, annotator, num_before) for name in ("floor?", "draw"))
            weights = np.frombuffer(self.weights, np.float64)[eligible]
            first, draw = draw_new(weights, first, self.priorities.floor, coin, place)
            self.draws[int(eligible[first])] = draw
        return int(eligible[first])

    def list_eligible(self, annotator: str, level: int) -> NDArray[np.intp]:
        """Return the indices of the questions of a level that an annotator has not seen, ascending."""
        is_eligible = np.frombuffer(self.levels, np.int64) == level
        is_eligible &= np.frombuffer(self.seen[annotator], np.bool_) == 0
        return np.flatnonzero(is_eligible)

    def list_eligible_levels(self) -> list[int]:
        """Return the eligible levels, most urgent first."""
        if self.limit is None:
            return sorted(level for level, num in self.num_of_level.items() if num and level >= 0)
        started_first = self.priorities is None or self.priorities.started_first
        levels = ([*range(1, self.limit), 0] if started_first else [*range(self.limit)]) if self.limit else []
        return [level for level in levels if self.num_of_level[level]]

    def find_repeatable(self, annotator: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the annotator's oldest unrepeated answer that is at least `repeat_gap` answers old."""
        answers, times = self.own[annotator], self.times[annotator]
        num_old = max(0, len(answers) - self.repeat_gap + 1)
        held = {assignment.question.id for assignment in self.held[annotator]}
        return next(
            (
                answers[position]
                for position in range(num_old)
                if times[(question := answers[position][0])] == 1
                and question not in held
                and (annotator, question) not in self.skipped
                and self.indices.get(question) not in self.training
            ),
            None,
        )

    def choose_order(self, index: int) -> tuple[str, ...]:
        """Return two sides in the order shown less often so far, several responses in one of their own each time.

        Ties and orders come from a hash of the seed.
        """
        question, excess_left = self.questions[index], self.excess_left[index]
        if len(question.responses) != 2:
            key = (self.seed, question.id, self.num_shown[index])
            return tuple(sorted(question.responses, key=lambda response: stable_id("order", *key, response)))
        if excess_left == 0:
            is_first_left = hash_uniform("side", self.seed, question.id, self.num_shown[index]) < 0.5
            excess_left = 1 if is_first_left else -1
        return question.responses[::-1] if excess_left > 0 else question.responses

    def count_missing(self, judgements_per_comparison: int) -> int:
        """Count the answers missing until each question has that many different annotators.

        Gold and training items, and questions that were withdrawn, lack none.
        """
        levels = range(judgements_per_comparison)
        missing = sum((judgements_per_comparison - level) * self.num_answered_by[level] for level in levels)
        return missing - judgements_per_comparison * len(self.withdrawn)


def num_missing(comparisons: Iterable[str], judgements: Iterable[Judgement], judgements_per_comparison: int) -> int:
    """Count the judgements missing until each comparison has `judgements_per_comparison` different annotators."""
    people = Counter(
        comparison for comparison, _ in {(judgement.comparison_id, judgement.annotator) for judgement in judgements}
    )
    return sum(max(0, judgements_per_comparison - people[comparison]) for comparison in comparisons)


def hash_uniform(*key: object) -> float:
    """Hash the arguments to a number in [0, 1)."""
    return int(stable_id(*key), 16) / 2**64


def shuffle_keys(numbers: NDArray[np.intp], seed: int) -> NDArray[np.uint64]:
    """Return a key for each number; to sort by them is a random order, another one for each seed.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which maps different numbers to different keys.
    """
    keys = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
