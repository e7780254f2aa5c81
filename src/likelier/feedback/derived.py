"""Comparisons that follow from rankings and ratings, so that reward models and DPO learn from these as well."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from likelier.feedback.check import AnnotatorCheck, FeedbackCheck
from likelier.feedback.formats.entry import UNKNOWN_SIDES
from likelier.feedback.ordinal import Scores, compare_scores
from likelier.feedback.raters import arrange_scale, fit_scale, split_scales
from likelier.feedback.store import Store
from likelier.files import stable_id
from likelier.records import (
    Comparison,
    JudgedComparison,
    Judgement,
    RankedResponses,
    RatedResponse,
    Response,
)

KEPT_FLAGS = frozenset({"inconsistent", "drifting", "copied"})
"""Flags of people whose ratings count, as in `preferences.make`."""


class AllAnswers:
    """A project's judgements, and the comparisons that follow from its rankings and ratings."""

    def __init__(self, store: Store, check: FeedbackCheck | None = None) -> None:
        """Take an open store; with a check, ratings of flagged people are left out, and others' careless shares are
        in the likelihood of theirs. Rankings keep their annotator, and are judged as their judgements are."""
        self.store = store
        self.people = {person.id: person for person in check.annotators} if check else {}
        self.num_rankings = self.num_ratings = self.num_derived = self.num_ratings_dropped = 0

    def judged(self) -> list[JudgedComparison]:
        """Return judgements, then comparisons by rankings, then those by ratings."""
        ranked, rated = list(self.store.ranked_by_content()), list(self.store.rated_by_content())
        kept = [entry for entry in rated if is_believed(self.people.get(entry.rating.annotator))]
        careless = {name: person.rating_careless or 0.0 for name, person in self.people.items()}
        derived = [*compare_ranked(ranked), *compare_rated(kept, careless)]
        self.num_rankings, self.num_ratings, self.num_derived = len(ranked), len(kept), len(derived)
        self.num_ratings_dropped = len(rated) - len(kept)
        return [*self.store.judged(), *derived]

    def describe(self) -> str:
        """Return a line on what was derived by the last `judged`; empty if nothing was."""
        if not self.num_derived:
            return ""
        left_out = (
            f"; {self.num_ratings_dropped:,} ratings by flagged people are left out" if self.num_ratings_dropped else ""
        )
        return (
            f"{self.num_rankings:,} rankings and {self.num_ratings:,} ratings give {self.num_derived:,} comparisons"
            + left_out
        )


def is_believed(person: AnnotatorCheck | None) -> bool:
    """Return False for whose ratings are left out: flagged by their ratings, or by their other answers."""
    return person is None or not (person.rating_flags or set(person.flags) - KEPT_FLAGS)


def compare_ranked(ranked: Iterable[RankedResponses]) -> Iterator[JudgedComparison]:
    """Yield the comparisons of each ranking, but for those within a shared place: nobody asked about these.

    By Plackett and Luce each is a Bradley-Terry comparison, so the scale of the scores stays. They are not independent:
    of a ranking of K responses each has the weight 2 / K, which makes K - 1 in all.
    """
    for entry in ranked:
        ranking, response_of = entry.ranking, {each.id: each for each in entry.responses}
        place_of = dict(zip(ranking.shown, ranking.ranks, strict=True))
        for left, right in combinations(ranking.shown, 2):
            if place_of[left] == place_of[right]:
                continue
            judgement = Judgement(
                comparison_id=Comparison(ranking.prompt_id, left, right).id,
                annotator=ranking.annotator,
                left=left,
                right=right,
                choice="left" if place_of[left] < place_of[right] else "right",
                created_at=ranking.created_at,
                simulated=ranking.simulated,
                key=stable_id("ranking", ranking.key, left, right),
            )
            weight = 2 / len(ranking.shown)
            yield JudgedComparison(judgement, entry.prompt, response_of[left], response_of[right], weight=weight)


def draw_from_rankings(ranked: Iterable[RankedResponses]) -> Iterator[JudgedComparison]:
    """Yield K - 1 comparisons of a ranking of K responses that are independent of each other, for the check.

    By Plackett and Luce each place is a choice among those that are left; that it beats one of these, drawn by chance,
    has the probability sigmoid(difference), whatever the other places are. Of the last place nothing follows, and
    responses that share a place are compared with later ones only. Sides are known of rankings from the page.
    """
    for entry in ranked:
        ranking, response_of = entry.ranking, {each.id: each for each in entry.responses}
        place_of = {each: place for place, each in enumerate(ranking.shown)}
        for number, place in enumerate(ranking.order[:-1]):
            later = [each for worse in ranking.order[number + 1 :] for each in worse]
            for better in place:
                draw = stable_id("drawn", ranking.annotator, ranking.key, *ranking.shown, better)
                worse = later[int(draw, 16) % len(later)]
                shown = ranking.duration_seconds is not None
                first = place_of[better] < place_of[worse] if shown else int(draw, 16) // len(later) % 2 == 0
                left, right = (better, worse) if first else (worse, better)
                judgement = Judgement(
                    comparison_id=Comparison(ranking.prompt_id, left, right).id,
                    annotator=ranking.annotator,
                    left=left,
                    right=right,
                    choice="left" if first else "right",
                    created_at=ranking.created_at,
                    simulated=ranking.simulated,
                    key=draw,
                    extra={} if shown else UNKNOWN_SIDES,
                )
                yield JudgedComparison(judgement, entry.prompt, response_of[left], response_of[right])


def compare_rated(
    rated: Sequence[RatedResponse], careless: Mapping[str, float] | None = None
) -> Iterator[JudgedComparison]:
    """Yield the comparisons of rated responses to the same prompt, with the probability that the left one is better.

    Scores are by `fit_ratings`, of each kind and scale apart, with people's `careless` shares; the probability has
    their doubt in it, so that a response with one rating is not far from another. A prompt with K rated responses has
    comparisons of weight 2 / K.
    """
    for kind, entries in split_scales(rated):
        fitted = score_rated(entries, careless)
        if fitted is None:
            continue
        ids, scores = fitted
        number = {each: place for place, each in enumerate(ids)}
        by_prompt: dict[str, dict[str, RatedResponse]] = defaultdict(dict)
        for entry in entries:
            by_prompt[entry.prompt.id][entry.response.id] = entry
        for rows in by_prompt.values():
            for left, right in combinations(sorted(rows), 2):
                probability = compare_scores(scores, number[left], number[right])
                yield compare_two(rows[left], rows[right].response, probability, 2 / len(rows), kind)


def score_rated(
    entries: Sequence[RatedResponse], careless: Mapping[str, float] | None = None
) -> tuple[list[str], Scores] | None:
    """Return the ids of the responses that were rated, sorted, and their scores by `fit_ratings`.

    The ratings are of one kind and scale. None: all are the same.
    """
    scale = arrange_scale(entries)
    return None if scale is None else (scale.response_ids, fit_scale(scale, dict(careless or {})).scores)


def compare_two(left: RatedResponse, right: Response, probability: float, weight: float, kind: str) -> JudgedComparison:
    """Make a comparison of two rated responses, of which the left one is better with the given probability."""
    target = round(probability, 6)
    judgement = Judgement(
        comparison_id=Comparison(left.prompt.id, left.response.id, right.id).id,
        annotator="",
        left=left.response.id,
        right=right.id,
        choice="left" if target > 0.5 else "right" if target < 0.5 else "tie",
        simulated=left.rating.simulated,
        key=stable_id(kind, left.response.id, right.id, target),
    )
    return JudgedComparison(judgement, left.prompt, left.response, right, target=max(target, 1 - target), weight=weight)
