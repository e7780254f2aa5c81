"""Which two responses to compare, which comparison an annotator is asked next, and who stands on which side.

Everything follows from a seed and from what was judged so far: the same history gives the same next question.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from likelier.records import Comparison, Judgement, Response, stable_id


@dataclass(frozen=True)
class Ask:
    """A comparison as one annotator is to see it. `repeat`: they saw it before, with the sides the other way round."""

    comparison: Comparison
    left: str
    right: str
    repeat: bool = False


def pair_responses(responses: Iterable[Response], seed: int, pairs_per_prompt: int = 1) -> list[Comparison]:
    """Up to `pairs_per_prompt` comparisons of different texts for each prompt, drawn evenly from all pairs.

    A response enters a second comparison only when the others of its prompt are used as often.
    """
    by_prompt: dict[str, list[Response]] = defaultdict(list)
    for response in sorted(responses, key=lambda response: response.id):
        by_prompt[response.prompt_id].append(response)
    return [
        pair for prompt_id in sorted(by_prompt) for pair in spread_pairs(by_prompt[prompt_id], seed, pairs_per_prompt)
    ]


def spread_pairs(responses: Sequence[Response], seed: int, wanted: int) -> Iterator[Comparison]:
    """Pairs of one prompt's responses, those first whose responses were used least; equal texts are never paired."""
    different = [(one, other) for one, other in combinations(responses, 2) if one.text != other.text]
    open_pairs = sorted(different, key=lambda pair: stable_id("pair", seed, pair[0].id, pair[1].id))
    used: Counter[str] = Counter()
    for _ in range(min(wanted, len(open_pairs))):
        best = min(open_pairs, key=lambda pair: used[pair[0].id] + used[pair[1].id])
        open_pairs.remove(best)
        used.update(response.id for response in best)
        one, other = best if draw("order", seed, best[0].id, best[1].id) < 0.5 else best[::-1]
        yield Comparison(one.prompt_id, one.id, other.id)


def next_comparison(
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
    annotator: str,
    seed: int = 0,
    judgements_per_comparison: int | None = None,
    repeat_share: float = 0.05,
    repeat_gap: int = 10,
) -> Ask | None:
    """What to ask `annotator` next; None when there is nothing left for them.

    A share of the questions are repeats: one that they answered at least `repeat_gap` answers ago, sides swapped, at
    most once each. Otherwise it is, of those they have not judged, the comparison that the fewest people have, until
    each has been judged by `judgements_per_comparison` people (None: no limit).
    Slow: looks at every comparison and judgement; fine below 100,000.
    """
    own = [judgement for judgement in judgements if judgement.annotator == annotator]
    known = {comparison.id: comparison for comparison in comparisons}
    if draw("repeat?", seed, annotator, len(own)) < repeat_share:
        earlier = repeatable(own, repeat_gap)
        if earlier and earlier.comparison_id in known:
            return Ask(known[earlier.comparison_id], left=earlier.right, right=earlier.left, repeat=True)
    count = Counter(comparison_id for comparison_id, _ in {(j.comparison_id, j.annotator) for j in judgements})
    seen = {judgement.comparison_id for judgement in own}
    limit = float("inf") if judgements_per_comparison is None else judgements_per_comparison
    waiting = [comparison for comparison in comparisons if comparison.id not in seen and count[comparison.id] < limit]
    if not waiting:
        return None
    chosen = min(waiting, key=lambda comparison: (count[comparison.id], stable_id(seed, annotator, comparison.id)))
    left, right = sides(chosen, judgements, seed)
    return Ask(chosen, left, right)


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
