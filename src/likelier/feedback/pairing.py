"""Assignment of comparisons to annotators: the next one, its sides, and repeats that measure self-agreement.

Deterministic given the seed and the judgements so far.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.files import stable_id
from likelier.records import Comparison, Judgement

REPEAT_SHARE = 0.05
"""Fraction of an annotator's comparisons that repeat an earlier one."""
LEASE_SECONDS = 600.0
"""How long a comparison that is on somebody's screen is kept for them."""
WITHDRAWN = -1
"""Level of a comparison that was withdrawn before anybody judged it."""


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
    supersedes: bool = False
    """It replaces an earlier judgement of the same comparison by the same annotator."""


class Pairing:
    """Chooses what each annotator judges next, from counts updated with each judgement.

    With probability `repeat_share` it is a repeat of one that they judged at least `repeat_gap` answers ago, with
    swapped sides, at most once each. Otherwise it is the comparison with the fewest annotators among those that they
    have not judged. With `judgements_per_comparison`, each is judged by that many annotators, and started comparisons
    come first: otherwise, with few answers to many comparisons, annotators would hardly overlap.

    A comparison that was assigned is leased: it counts as judged when others are given theirs, until it is answered,
    skipped, or the lease expires. The cost of a question grows with the comparisons alone, by some nanoseconds each.
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
        self.levels = array("q", bytes(8 * len(self.comparisons)))
        """How many different people have judged each comparison, or hold a lease of it."""
        self.num_of_level = Counter(self.levels)
        self.num_people = [0] * len(self.comparisons)
        """How many different people have judged each comparison."""
        self.num_judged_by = Counter(self.num_people)
        self.num_shown = [0] * len(self.comparisons)
        self.excess_left = [0] * len(self.comparisons)
        """How often each comparison's first response was on the left, less how often on the right."""
        self.own: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
        """Each annotator's answers in their order: comparison, left, right."""
        self.times: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How often each annotator has judged each comparison."""
        self.seen: defaultdict[str, bytearray] = defaultdict(lambda: bytearray(len(self.comparisons)))
        """1 for what an annotator has judged, skipped, or holds a lease of."""
        self.held: defaultdict[str, list[Assignment]] = defaultdict(list)
        """What each annotator was assigned and has not answered, in order."""
        self.leases: dict[tuple[str, int], float] = {}
        """When each lease ends, by annotator and comparison, the first to end first."""
        self.withdrawn: set[int] = set()
        """Comparisons that nobody has judged and that are given to nobody any more."""
        self.skipped: set[tuple[str, str]] = set()
        """Annotators with comparisons that they skipped."""
        self.num_judgements = 0
        """Of those that count: none that supersedes another, which was counted itself."""
        self.num_stored = 0

    def add_comparisons(self, comparisons: Iterable[Comparison]) -> None:
        """Add comparisons that were made meanwhile; known ones are left as they are."""
        for comparison in comparisons:
            if comparison.id in self.indices:
                continue
            self.indices[comparison.id] = len(self.comparisons)
            self.comparisons.append(comparison)
            self.levels.append(0)
            for seen in self.seen.values():
                seen.append(0)
            for counts in (self.num_people, self.num_shown, self.excess_left):
                counts.append(0)
            self.num_of_level[0] += 1
            self.num_judged_by[0] += 1

    def withdraw(self, comparison_ids: Iterable[str]) -> None:
        """Give comparisons to nobody any more, unless somebody has judged them: these are asked to their full number.

        Whoever holds one already may still answer; it then counts as any other.
        """
        for index in (self.indices[each] for each in comparison_ids if each in self.indices):
            if not self.num_people[index]:
                self.withdrawn.add(index)
                self.change_level(index, 0)

    def count_unbegun(self) -> int:
        """Count the comparisons that are on nobody's screen and that nobody has judged."""
        return self.num_of_level[0]

    def add(self, judgement: Judgement | Shown) -> None:
        """Count a judgement; with an unknown comparison it counts only towards the annotator's repeat gap."""
        self.num_stored += 1
        if judgement.supersedes:
            return
        self.num_judgements += 1
        self.own[judgement.annotator].append((judgement.comparison_id, judgement.left, judgement.right))
        self.times[judgement.annotator][judgement.comparison_id] += 1
        if held := self.held[judgement.annotator]:
            self.held[judgement.annotator] = [each for each in held if each.comparison.id != judgement.comparison_id]
        index = self.indices.get(judgement.comparison_id)
        if index is None:
            return
        self.num_shown[index] += 1
        self.excess_left[index] += 1 if judgement.left == self.comparisons[index].response_a else -1
        is_first = self.times[judgement.annotator][judgement.comparison_id] == 1
        if is_first:
            self.withdrawn.discard(index)
            self.num_judged_by[self.num_people[index]] -= 1
            self.num_people[index] += 1
            self.num_judged_by[self.num_people[index]] += 1
        if self.leases.pop((judgement.annotator, index), None) is None and is_first:
            self.seen[judgement.annotator][index] = 1
            self.change_level(index, 1)

    def change_level(self, index: int, change: int) -> None:
        """Count one annotator more, or less, at a comparison."""
        self.num_of_level[self.levels[index]] -= 1
        level = max(0, self.levels[index]) + change
        self.levels[index] = WITHDRAWN if level == 0 and index in self.withdrawn else level
        self.num_of_level[self.levels[index]] += 1

    def assign(self, annotator: str, now: float, count: int = 1) -> list[Assignment]:
        """Return what an annotator holds, with new comparisons up to `count`; fewer if there are no more for them.

        `now` is in seconds. All that they hold is leased for `LEASE_SECONDS` from now on.
        """
        self.end_leases(now)
        held = self.held[annotator]
        for assignment in held:
            self.lease(annotator, assignment, now + LEASE_SECONDS)
        while len(held) < count and (new := self.next_comparison(annotator)):
            held.append(new)
            self.lease(annotator, new, now + LEASE_SECONDS)
        return held[:count]

    def lease(self, annotator: str, assignment: Assignment, end: float) -> None:
        """Begin or renew the lease of a comparison; a repeat needs none, since its annotator is counted already."""
        index = self.indices[assignment.comparison.id]
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
                held for held in self.held[annotator] if held.comparison is not self.comparisons[index]
            ]
            self.change_level(index, -1)

    def skip(self, annotator: str, comparison_id: str) -> None:
        """Give back a comparison that an annotator cannot judge; they are not asked it again."""
        index = self.indices.get(comparison_id)
        held = self.held[annotator]
        self.held[annotator] = [each for each in held if each.comparison.id != comparison_id]
        self.skipped.add((annotator, comparison_id))
        if index is not None:
            self.seen[annotator][index] = 1  # after a restart of the server nobody holds a lease of it
        if index is not None and self.leases.pop((annotator, index), None) is not None:
            self.change_level(index, -1)

    def next_comparison(self, annotator: str) -> Assignment | None:
        """Return the annotator's next comparison; None if there is none left for them."""
        # A hash, not a generator's state: whoever reloads the page or restarts the server gets the same one again.
        num_before = len(self.own[annotator]) + len(self.held[annotator])
        if hash_uniform("repeat?", self.seed, annotator, num_before) < self.repeat_share:
            comparison, left, right = self.find_repeatable(annotator) or ("", "", "")
            if comparison in self.indices:
                return Assignment(self.comparisons[self.indices[comparison]], left=right, right=left, repeat=True)
        for level in self.list_eligible_levels():
            index = self.find_first(annotator, level)
            if index is not None:
                left, right = self.choose_sides(index)
                return Assignment(self.comparisons[index], left, right)
        return None

    def find_first(self, annotator: str, level: int) -> int | None:
        """Return the index of a comparison of a level, the first in the annotator's own order that they have not seen.

        None: there is none.
        """
        is_eligible = np.frombuffer(self.levels, np.int64) == level
        is_eligible &= np.frombuffer(self.seen[annotator], np.bool_) == 0
        eligible = np.flatnonzero(is_eligible)
        if not len(eligible):
            return None
        keys = shuffle_keys(eligible, int(stable_id("order", self.seed, annotator), 16))
        return int(eligible[keys.argmin()])

    def list_eligible_levels(self) -> list[int]:
        """Return the eligible levels, most urgent first."""
        if self.limit is None:
            return sorted(level for level, num in self.num_of_level.items() if num and level >= 0)
        levels = [*range(1, self.limit), 0] if self.limit else []
        return [level for level in levels if self.num_of_level[level]]

    def find_repeatable(self, annotator: str) -> tuple[str, str, str] | None:
        """Return the annotator's oldest unrepeated answer that is at least `repeat_gap` answers old."""
        answers, times = self.own[annotator], self.times[annotator]
        num_old = max(0, len(answers) - self.repeat_gap + 1)
        held = {assignment.comparison.id for assignment in self.held[annotator]}
        return next(
            (
                answers[position]
                for position in range(num_old)
                if times[(comparison := answers[position][0])] == 1
                and comparison not in held
                and (annotator, comparison) not in self.skipped
            ),
            None,
        )

    def choose_sides(self, index: int) -> tuple[str, str]:
        """Return (left, right) in the order shown less often so far; ties are broken by a hash of the seed."""
        comparison, excess_left = self.comparisons[index], self.excess_left[index]
        if excess_left == 0:
            is_first_left = hash_uniform("side", self.seed, comparison.id, self.num_shown[index]) < 0.5
            excess_left = 1 if is_first_left else -1
        first, second = comparison.response_a, comparison.response_b
        return (second, first) if excess_left > 0 else (first, second)

    def count_missing(self, judgements_per_comparison: int) -> int:
        """Count the judgements missing until each comparison has that many different annotators.

        Those withdrawn lack none.
        """
        levels = range(judgements_per_comparison)
        missing = sum((judgements_per_comparison - level) * self.num_judged_by[level] for level in levels)
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
