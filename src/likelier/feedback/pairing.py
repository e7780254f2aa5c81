"""Assignment of comparisons to annotators: the next one, its sides, and repeats for measuring self-agreement.

Deterministic in the seed and the judgements so far: the same history gives the same next comparison.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from likelier.files import stable_id
from likelier.records import Comparison, Judgement

REPEAT_SHARE = 0.05
"""Fraction of an annotator's comparisons that repeat an earlier one."""


@dataclass(frozen=True)
class Assignment:
    """A comparison as shown to one annotator. `repeat`: they judged it before, with the sides swapped."""

    comparison: Comparison
    left: str
    right: str
    repeat: bool = False


def next_comparison(
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
    annotator: str,
    seed: int = 0,
    judgements_per_comparison: int | None = None,
    repeat_share: float = REPEAT_SHARE,
    repeat_gap: int = 10,
) -> Assignment | None:
    """Choose the comparison that `annotator` judges next; None when there is none left for them.

    With probability `repeat_share` it is a repeat: one judged at least `repeat_gap` answers ago, sides swapped, at most
    once each. Otherwise it is the comparison with the fewest annotators among those they have not judged. With
    `judgements_per_comparison`, each is judged by that many annotators, and one with some judgements comes before one
    without: otherwise, with few answers to many comparisons, annotators would hardly overlap.
    Slow: goes through all comparisons and judgements; fine below 100,000.
    """
    own = [judgement for judgement in judgements if judgement.annotator == annotator]
    by_id = {comparison.id: comparison for comparison in comparisons}
    # A hash, not a generator's state: whoever reloads the page or restarts the server gets the same comparison again.
    if hash_uniform("repeat?", seed, annotator, len(own)) < repeat_share:
        earlier = find_repeatable(own, repeat_gap)
        if earlier and earlier.comparison_id in by_id:
            return Assignment(by_id[earlier.comparison_id], left=earlier.right, right=earlier.left, repeat=True)
    num_annotators = count_annotators(judgements)
    seen = {judgement.comparison_id for judgement in own}
    limit = float("inf") if judgements_per_comparison is None else judgements_per_comparison
    candidates = [each for each in comparisons if each.id not in seen and num_annotators[each.id] < limit]
    if not candidates:
        return None
    if judgements_per_comparison is not None:
        candidates = [each for each in candidates if num_annotators[each.id]] or candidates
    chosen = min(candidates, key=lambda each: (num_annotators[each.id], stable_id(seed, annotator, each.id)))
    left, right = choose_sides(chosen, judgements, seed)
    return Assignment(chosen, left, right)


def count_annotators(judgements: Iterable[Judgement]) -> Counter[str]:
    """Count the different annotators of each comparison."""
    return Counter(comparison for comparison, _ in {(each.comparison_id, each.annotator) for each in judgements})


def num_missing(comparisons: Iterable[str], judgements: Iterable[Judgement], judgements_per_comparison: int) -> int:
    """Count the judgements missing until each comparison has `judgements_per_comparison` different annotators."""
    num_annotators = count_annotators(judgements)
    return sum(max(0, judgements_per_comparison - num_annotators[comparison]) for comparison in comparisons)


def find_repeatable(own: Sequence[Judgement], gap: int) -> Judgement | None:
    """Find an annotator's oldest judgement that is at least `gap` answers old and not repeated yet."""
    times = Counter(judgement.comparison_id for judgement in own)
    old = own[: max(0, len(own) - gap + 1)]
    return next((judgement for judgement in old if times[judgement.comparison_id] == 1), None)


def choose_sides(comparison: Comparison, judgements: Sequence[Judgement], seed: int) -> tuple[str, str]:
    """Return (left, right) in the order shown less often so far; a tie is broken by a hash of the seed."""
    shown = [judgement for judgement in judgements if judgement.comparison_id == comparison.id]
    excess_left = sum(side_sign(judgement, comparison) for judgement in shown)
    if excess_left == 0:
        excess_left = 1 if hash_uniform("side", seed, comparison.id, len(shown)) < 0.5 else -1
    first, second = comparison.response_a, comparison.response_b
    return (second, first) if excess_left > 0 else (first, second)


def side_sign(judgement: Judgement, comparison: Comparison) -> int:
    """Return +1 if the comparison's first response was on the left, -1 if it was on the right."""
    return 1 if judgement.left == comparison.response_a else -1


def hash_uniform(*key: object) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    return int(stable_id(*key), 16) / 2**64
