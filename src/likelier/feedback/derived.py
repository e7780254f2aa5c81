"""Comparisons that follow from rankings and ratings, so that reward models and DPO learn from these as well."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from likelier.feedback.ordinal import Scores, compare_scores, fit_ratings
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

MAX_CATEGORIES = 11
"""Different ratings of a scale that are kept apart; a finer one is cut into so many parts with equally many ratings."""


class AllAnswers:
    """A project's judgements, and the comparisons that follow from its rankings and ratings."""

    def __init__(self, store: Store) -> None:
        """Take an open store."""
        self.store = store
        self.num_rankings = self.num_ratings = self.num_derived = 0

    def judged(self) -> list[JudgedComparison]:
        """Return judgements, then comparisons by rankings, then those by ratings."""
        ranked, rated = list(self.store.ranked_by_content()), list(self.store.rated_by_content())
        derived = [*compare_ranked(ranked), *compare_rated(rated)]
        self.num_rankings, self.num_ratings, self.num_derived = len(ranked), len(rated), len(derived)
        return [*self.store.judged(), *derived]

    def describe(self) -> str:
        """Return a line on what was derived by the last `judged`; empty if nothing was."""
        if not self.num_derived:
            return ""
        return f"{self.num_rankings:,} rankings and {self.num_ratings:,} ratings give {self.num_derived:,} comparisons"


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


def compare_rated(rated: Sequence[RatedResponse]) -> Iterator[JudgedComparison]:
    """Yield the comparisons of rated responses to the same prompt, with the probability that the left one is better.

    Scores are by `fit_ratings`, of each kind and scale apart; the probability has their doubt in it, so that a response
    with one rating is not far from another. A prompt with K rated responses has comparisons of weight 2 / K.
    """
    scales = defaultdict(list)
    for entry in rated:
        scales[entry.rating.kind, json.dumps(entry.rating.extra.get("scale"))].append(entry)
    for (kind, _), entries in sorted(scales.items(), key=lambda scale: scale[0]):
        fitted = score_rated(entries)
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


def score_rated(entries: Sequence[RatedResponse]) -> tuple[list[str], Scores] | None:
    """Return the ids of the responses that were rated, sorted, and their scores by `fit_ratings`.

    The ratings are of one kind and scale. None: all are the same.
    """
    category, categories = categorise(np.array([entry.rating.value for entry in entries]))
    if categories < 2:
        return None
    ids = sorted({entry.response.id for entry in entries})
    number = {each: place for place, each in enumerate(ids)}
    response = np.array([number[entry.response.id] for entry in entries])
    # Raters without a name may be many: each of their ratings has the thresholds of all.
    names = [entry.rating.annotator or f"\0{place}" for place, entry in enumerate(entries)]
    annotator = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return ids, fit_ratings(response, annotator, category, categories).scores


def categorise(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return the category of each rating, from 0 on, and their number."""
    distinct = np.unique(values)
    if len(distinct) > MAX_CATEGORIES:
        distinct = np.unique(np.quantile(values, np.linspace(0, 1, MAX_CATEGORIES, endpoint=False)))
    return np.searchsorted(distinct, values, side="right") - 1, len(distinct)


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
