"""Assignment of comparisons to annotators: the next one, its sides, and repeats that measure self-agreement.

Deterministic given the seed and the judgements so far.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from likelier.files import stable_id
from likelier.records import Comparison, Judgement

REPEAT_SHARE = 0.05
"""Fraction of an annotator's comparisons that repeat an earlier one."""


@dataclass(frozen=True)
class Assignment:
    """A comparison as shown to one annotator. `repeat`: they have judged it before; sides are swapped."""

    comparison: Comparison
    left: str
    right: str
    repeat: bool = False


class Shown(NamedTuple):
    """The part of a stored judgement that pairing needs: comparison, annotator and sides."""

    number: int
    comparison_id: str
    annotator: str
    left: str
    right: str


class Queue:
    """One annotator's comparisons in an order of their own (by hash); finds the first of a level without a scan.

    The level of a comparison is the number of people who have judged it. Levels only rise, and judged comparisons stay
    judged, so each level keeps a cursor, before which none of its comparisons is left, and a heap of those that have
    risen to it since.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self.order = sorted(range(len(keys)), key=keys.__getitem__)
        self.places: defaultdict[int, int] = defaultdict(int)
        self.risen: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)

    def move_up(self, index: int, level: int) -> None:
        """Record that a comparison has risen to a level."""
        heappush(self.risen[level], (self.keys[index], index))

    def find_first(self, level: int, levels: Sequence[int], judged: set[int]) -> int | None:
        """Return the index of the first comparison of a level that is not in `judged`; None if there is none."""
        position, risen = self.places[level], self.risen[level]
        while position < len(self.order) and (levels[self.order[position]] != level or self.order[position] in judged):
            position += 1
        self.places[level] = position
        while risen and (levels[risen[0][1]] != level or risen[0][1] in judged):
            heappop(risen)
        firsts = [index for _, index in risen[:1]] + self.order[position : position + 1]
        return min(firsts, key=self.keys.__getitem__, default=None)


class Pairing:
    """Chooses what each annotator judges next, from counts updated with each judgement.

    With probability `repeat_share` it is a repeat of one that they judged at least `repeat_gap` answers ago, with
    swapped sides, at most once each. Otherwise it is the comparison with the fewest annotators among those that they
    have not judged. With `judgements_per_comparison`, each is judged by that many annotators, and started comparisons
    come first: otherwise, with few answers to many comparisons, annotators would hardly overlap.

    The cost per question does not grow with the judgements; an annotator's first question sorts all comparisons.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        seed: int = 0,
        judgements_per_comparison: int | None = None,
        repeat_share: float = REPEAT_SHARE,
        repeat_gap: int = 10,
    ) -> None:
        self.comparisons, self.seed, self.limit = list(comparisons), seed, judgements_per_comparison
        self.repeat_share, self.repeat_gap = repeat_share, repeat_gap
        self.indices = {comparison.id: index for index, comparison in enumerate(self.comparisons)}
        self.levels = [0] * len(self.comparisons)
        """How many different people have judged each comparison."""
        self.num_of_level = Counter(self.levels)
        self.num_shown = [0] * len(self.comparisons)
        self.excess_left = [0] * len(self.comparisons)
        """How often each comparison's first response was on the left, less how often on the right."""
        self.own: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
        """Each annotator's answers in their order: comparison, left, right."""
        self.times: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How often each annotator has judged each comparison."""
        self.seen: defaultdict[str, set[int]] = defaultdict(set)
        self.queues: dict[str, Queue] = {}
        self.num_judgements = 0

    def add(self, judgement: Judgement | Shown) -> None:
        """Count a judgement; with an unknown comparison it counts only towards the annotator's repeat gap."""
        self.num_judgements += 1
        self.own[judgement.annotator].append((judgement.comparison_id, judgement.left, judgement.right))
        self.times[judgement.annotator][judgement.comparison_id] += 1
        index = self.indices.get(judgement.comparison_id)
        if index is None:
            return
        self.num_shown[index] += 1
        self.excess_left[index] += 1 if judgement.left == self.comparisons[index].response_a else -1
        if index not in self.seen[judgement.annotator]:
            self.seen[judgement.annotator].add(index)
            self.count_annotator(index)

    def count_annotator(self, index: int) -> None:
        """Add one annotator to a comparison's count."""
        self.num_of_level[self.levels[index]] -= 1
        self.levels[index] += 1
        self.num_of_level[self.levels[index]] += 1
        for queue in self.queues.values():
            queue.move_up(index, self.levels[index])

    def next_comparison(self, annotator: str) -> Assignment | None:
        """Return the annotator's next comparison; None if there is none left for them."""
        # A hash, not a generator's state: whoever reloads the page or restarts the server gets the same one again.
        if hash_uniform("repeat?", self.seed, annotator, len(self.own[annotator])) < self.repeat_share:
            comparison, left, right = self.find_repeatable(annotator) or ("", "", "")
            if comparison in self.indices:
                return Assignment(self.comparisons[self.indices[comparison]], left=right, right=left, repeat=True)
        queue = self.open_queue(annotator)
        for level in self.list_eligible_levels():
            index = queue.find_first(level, self.levels, self.seen[annotator])
            if index is not None:
                left, right = self.choose_sides(index)
                return Assignment(self.comparisons[index], left, right)
        return None

    def open_queue(self, annotator: str) -> Queue:
        """Return the annotator's queue of comparisons."""
        if annotator not in self.queues:
            self.queues[annotator] = Queue(
                [stable_id(self.seed, annotator, comparison.id) for comparison in self.comparisons]
            )
        return self.queues[annotator]

    def list_eligible_levels(self) -> list[int]:
        """Return the eligible levels, most urgent first."""
        if self.limit is None:
            return sorted(level for level, num in self.num_of_level.items() if num)
        return [*range(1, self.limit), 0] if self.limit else []

    def find_repeatable(self, annotator: str) -> tuple[str, str, str] | None:
        """Return the annotator's oldest unrepeated answer that is at least `repeat_gap` answers old."""
        answers, times = self.own[annotator], self.times[annotator]
        num_old = max(0, len(answers) - self.repeat_gap + 1)
        return next((answers[position] for position in range(num_old) if times[answers[position][0]] == 1), None)

    def choose_sides(self, index: int) -> tuple[str, str]:
        """Return (left, right) in the order shown less often so far; ties are broken by a hash of the seed."""
        comparison, excess_left = self.comparisons[index], self.excess_left[index]
        if excess_left == 0:
            is_first_left = hash_uniform("side", self.seed, comparison.id, self.num_shown[index]) < 0.5
            excess_left = 1 if is_first_left else -1
        first, second = comparison.response_a, comparison.response_b
        return (second, first) if excess_left > 0 else (first, second)

    def count_missing(self, judgements_per_comparison: int) -> int:
        """Count the judgements missing until each comparison has that many different annotators."""
        levels = range(judgements_per_comparison)
        return sum((judgements_per_comparison - level) * self.num_of_level[level] for level in levels)


def num_missing(comparisons: Iterable[str], judgements: Iterable[Judgement], judgements_per_comparison: int) -> int:
    """Count the judgements missing until each comparison has `judgements_per_comparison` different annotators."""
    people = Counter(
        comparison for comparison, _ in {(judgement.comparison_id, judgement.annotator) for judgement in judgements}
    )
    return sum(max(0, judgements_per_comparison - people[comparison]) for comparison in comparisons)


def hash_uniform(*key: object) -> float:
    """Hash the arguments to a number in [0, 1)."""
    return int(stable_id(*key), 16) / 2**64
