"""The check of all that people answered: judgements, rankings and ratings."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from likelier.feedback.check import AnnotatorCheck, FeedbackCheck, add_careless, check
from likelier.feedback.derived import compare_ranked, draw_from_rankings
from likelier.feedback.raters import RaterCheck, check_raters
from likelier.feedback.rating_agreement import measure_rating_agreement
from likelier.feedback.store import Store
from likelier.feedback.votes import arrange_votes
from likelier.records import JudgedComparison, RankedResponses, RatedResponse


def check_store(store: Store) -> FeedbackCheck:
    """Check a project's judgements, rankings and ratings."""
    return check_answers(store.judged(), store.gold_answers(), store.ranked_by_content(), store.rated_by_content())


def check_answers(
    judged: Sequence[JudgedComparison],
    gold: Mapping[str, str | None] | None = None,
    ranked: Iterable[RankedResponses] = (),
    rated: Iterable[RatedResponse] = (),
) -> FeedbackCheck:
    """Measure agreement, skills and biases, and flag annotators, by all their answers. Deterministic.

    Of a ranking of K responses K - 1 independent comparisons join the judgements (`draw_from_rankings`); only careless
    shares, which are no tests, are by all its pairs, for what they are worth together (`count_evidence`). Ratings are
    compared with the scores that the others' give (`raters`), with flags of their own. `gold` as for `check`.
    """
    ranked, rated = list(ranked), list(rated)
    if not ranked and not rated:
        return check(judged, gold)
    found = check([*judged, *draw_from_rankings(ranked)], gold)
    rankings, ratings = Counter(entry.ranking.annotator for entry in ranked), check_raters(rated)
    judgements = Counter(entry.judgement.annotator for entry in judged if not entry.judgement.adjudicates)
    people = {person.id: person for person in (add_ranked(found, judged, ranked) if ranked else found.annotators)}
    for name in ratings:
        people.setdefault(name, AnnotatorCheck(name, 0, None, None, None, ()))
    return replace(
        found,
        comparisons=len({entry.judgement.comparison_id for entry in judged if not entry.judgement.adjudicates}),
        judgements=judgements.total(),
        annotators=tuple(
            add_counts(people[name], judgements[name], rankings[name], ratings.get(name)) for name in sorted(people)
        ),
        rankings=len(ranked),
        ratings=len(rated),
        rating_agreement=measure_rating_agreement(rated),
    )


def add_ranked(
    found: FeedbackCheck, judged: Sequence[JudgedComparison], ranked: Sequence[RankedResponses]
) -> tuple[AnnotatorCheck, ...]:
    """Return the annotators with careless shares by all pairs of their rankings."""
    pairs = [
        replace(pair, weight=count_evidence(len(entry.ranking.shown)))
        for entry in ranked
        for pair in compare_ranked([entry])
    ]
    votes, names = arrange_votes([*(entry for entry in judged if not entry.judgement.adjudicates), *pairs])
    if not names:
        return found.annotators
    group_of = found.tastes.group_of() if found.tastes else {}
    group = np.array([group_of.get(name, -1) for name in names], np.int64)
    return add_careless(found.annotators, votes.select(votes.is_vote & (votes.annotator >= 0)), group)


def count_evidence(num_ranked: int) -> float:
    """Return of how many independent comparisons a pair of a ranking of K responses is worth.

    At equal scores the Fisher information of Plackett and Luce's choices, sum of 1 - 1 / m over m from 2 to K, over
    that of K (K - 1) / 2 comparisons, 1/2 each.

    >>> count_evidence(2)
    1.0
    """
    return sum(1 - 1 / left for left in range(2, num_ranked + 1)) / (num_ranked * (num_ranked - 1) / 4)


def add_counts(person: AnnotatorCheck, judgements: int, rankings: int, rater: RaterCheck | None) -> AnnotatorCheck:
    """Return a person's results with how much they answered of each kind, and the results of their ratings."""
    person = replace(person, judgements=judgements, rankings=rankings)
    if rater is None:
        return person
    return replace(
        person,
        ratings=rater.ratings,
        rating_skill=rater.skill,
        rating_careless=rater.careless,
        rating_careless_interval=rater.careless_interval,
        rating_flags=rater.flags,
    )
