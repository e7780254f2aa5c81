"""Which comparison an annotator is asked next, which response stands on which side, and when one is asked again.

Everything follows from a seed and from what was judged so far: the same history gives the same next question.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from likelier.files import stable_id
from likelier.records import Comparison, Judgement

REPEAT_SHARE = 0.05
"""Of the questions that one annotator is asked: how many they have answered before."""


@dataclass(frozen=True)
class Ask:
    """A comparison as one annotator is to see it. `repeat`: they saw it before, with the sides the other way round."""

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
) -> Ask | None:
    """What to ask `annotator` next; None when there is nothing left for them.

    A share of the questions are repeats: one that they answered at least `repeat_gap` answers ago, sides swapped, at
    most once each. Otherwise it is, of those they have not judged, the comparison that the fewest people have. With
    `judgements_per_comparison` each is judged by so many people, and one that others have begun comes before a new one:
    where few answers meet many comparisons, people's answers would else never meet.
    Slow: looks at every comparison and judgement; fine below 100,000.
    """
    own = [judgement for judgement in judgements if judgement.annotator == annotator]
    known = {comparison.id: comparison for comparison in comparisons}
    if draw("repeat?", seed, annotator, len(own)) < repeat_share:
        earlier = repeatable(own, repeat_gap)
        if earlier and earlier.comparison_id in known:
            return Ask(known[earlier.comparison_id], left=earlier.right, right=earlier.left, repeat=True)
    count = people_by_comparison(judgements)
    seen = {judgement.comparison_id for judgement in own}
    limit = float("inf") if judgements_per_comparison is None else judgements_per_comparison
    waiting = [comparison for comparison in comparisons if comparison.id not in seen and count[comparison.id] < limit]
    if not waiting:
        return None
    if judgements_per_comparison is not None:
        waiting = [comparison for comparison in waiting if count[comparison.id]] or waiting
    chosen = min(waiting, key=lambda comparison: (count[comparison.id], stable_id(seed, annotator, comparison.id)))
    left, right = sides(chosen, judgements, seed)
    return Ask(chosen, left, right)


def people_by_comparison(judgements: Iterable[Judgement]) -> Counter[str]:
    """How many people have judged each comparison."""
    return Counter(comparison for comparison, _ in {(each.comparison_id, each.annotator) for each in judgements})


def num_missing(comparisons: Iterable[str], judgements: Iterable[Judgement], judgements_per_comparison: int) -> int:
    """Answers still to come until so many different people have judged each of these comparisons."""
    count = people_by_comparison(judgements)
    return sum(max(0, judgements_per_comparison - count[comparison]) for comparison in comparisons)


def repeatable(own: Sequence[Judgement], gap: int) -> Judgement | None:
    """The oldest judgement of this annotator that is `gap` answers old and was asked only once."""
    times = Counter(judgement.comparison_id for judgement in own)
    old = own[: max(0, len(own) - gap + 1)]
    return next((judgement for judgement in old if times[judgement.comparison_id] == 1), None)


def sides(comparison: Comparison, judgements: Sequence[Judgement], seed: int) -> tuple[str, str]:
    """Left and right: the way this comparison was shown less often; if even, by a coin that follows from the seed."""
    shown = [judgement for judgement in judgements if judgement.comparison_id == comparison.id]
    lead = sum(shown_first(judgement, comparison) for judgement in shown)
    if lead == 0:
        lead = 1 if draw("side", seed, comparison.id, len(shown)) < 0.5 else -1
    first, second = comparison.response_a, comparison.response_b
    return (second, first) if lead > 0 else (first, second)


def shown_first(judgement: Judgement, comparison: Comparison) -> int:
    """+1 when the comparison's first response was on the left, -1 when it was on the right."""
    return 1 if judgement.left == comparison.response_a else -1


def draw(*what: object) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    return int(stable_id(*what), 16) / 2**64
