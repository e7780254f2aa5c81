"""People as judges of an evaluation: blind comparisons of both models' responses."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from likelier.config import EvalConfig
from likelier.errors import ConfigError, DataError, Stopped
from likelier.evaluation.length_control import control_length
from likelier.evaluation.result import PeopleResult
from likelier.feedback.inclusion import find_chance, weigh_draws
from likelier.feedback.pairing import num_missing
from likelier.feedback.store import Store
from likelier.files import stable_id
from likelier.intervals import rate_interval
from likelier.progress import print_note
from likelier.records import Comparison, Judgement, Prompt, Response

EVALUATION_MARK = {"kept_for": "evaluation"}
"""In `Prompt.extra`: tells the comparisons of evaluations from those that a model is trained on."""


@runtime_checkable
class AnnotationPage(Protocol):
    """A page where people judge comparisons; implemented by `web.server.serve`."""

    def __call__(self, store: Store, *, port: int, per_comparison: int, only: Collection[str]) -> int:
        """Serve the page until every comparison in `only` has `per_comparison` judgements; return an exit code."""
        ...


@dataclass(frozen=True)
class ResponsePair:
    """Both models' responses to one prompt."""

    prompt: Prompt
    a: Response
    b: Response

    @property
    def comparison(self) -> Comparison | None:
        """The comparison to judge; None if the responses are identical, which counts as a tie."""
        return None if self.a.text == self.b.text else Comparison(self.prompt.id, self.a.id, self.b.id)

    @property
    def length_difference(self) -> float:
        """Characters by which b's response is longer."""
        return float(len(self.b.text) - len(self.a.text))

    def share_for_b(self, judgements: Sequence[Judgement]) -> float | None:
        """Return the share of judgements that prefer b, ties counting half; None without judgements."""
        if self.comparison is None:
            return 0.5
        wins = [{self.b.id: 1.0, self.a.id: 0.0, None: 0.5}[judgement.preferred] for judgement in judgements]
        return sum(wins) / len(wins) if wins else None


class HumanPreferences(NamedTuple):
    """Aggregated human judgements of an evaluation."""

    result: PeopleResult
    shares: list[float | None]
    """For each pair the share of judgements that prefer b; None if nobody judged it, or a strategy chose to ask it: no
    judge can be corrected by these."""


def open_people(config: EvalConfig) -> Store:
    """Open the database in which the people of `eval.scorer` judge.

    ConfigError: it holds comparisons of another purpose. DataError: see `Store.open`.
    """
    assert config.people is not None
    assert config.people.people is not None
    store = Store.open(config.people.people, create=True, project=config.project)
    if any(prompt.extra.get("kept_for") != "evaluation" for prompt in store.prompts()):
        store.close()
        advice = "a model could be trained on what is kept for evaluation; give people a database of its own"
        raise ConfigError(f"eval.scorer: {store.name} holds other comparisons: {advice}")
    return store


def ask_people(
    store: Store, pairs: Sequence[ResponsePair], config: EvalConfig, page: AnnotationPage | None
) -> HumanPreferences:
    """Have people judge the pairs; returns the aggregated judgements.

    All stored judgements of these comparisons count, so nothing is asked again after a restart. Without a `page` only
    stored judgements are used. Stopped, DataError: there are none at all.
    """
    store_comparisons(store, pairs)
    comparisons = {pair.comparison.id for pair in pairs if pair.comparison is not None}
    asked = draw_asked(comparisons, config.num_judged)
    missing = num_missing(asked, store.judgements(), config.judgements_per_comparison)
    if missing and page is not None:
        print_note(
            f"people: {missing} judgements are wanted; Ctrl-C closes the page, and what was judged by then counts"
        )
        try:
            page(store, port=config.port, per_comparison=config.judgements_per_comparison, only=asked)
        except KeyboardInterrupt:
            if not read_judgements(store, comparisons):
                line = "nobody has judged anything yet, so there is no win rate; the same command asks again"
                raise Stopped(f"{store.name}: {line}", 130) from None
    judgements = read_judgements(store, comparisons)
    if comparisons and not judgements:
        raise DataError(f"{store.name}: no judgement of these answers; let people judge them with `likelier eval`")
    by_comparison: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_comparison[judgement.comparison_id].append(judgement)
    shares = [pair.share_for_b(by_comparison[pair.comparison.id] if pair.comparison else ()) for pair in pairs]
    result = compute_people_result(pairs, shares, judgements)
    by_chance = {each.comparison_id for each, counts in zip(judgements, find_chance(judgements), strict=True) if counts}
    fair = [
        share if pair.comparison is None or pair.comparison.id in by_chance else None
        for pair, share in zip(pairs, shares, strict=True)
    ]
    return HumanPreferences(result, fair)


def draw_asked(comparisons: Collection[str], count: int | None) -> set[str]:
    """Return the comparisons that people are asked about: `count` of them by a hash, the same ones after a restart."""
    return set(sorted(comparisons, key=lambda each: stable_id("asked", each))[:count])


def store_comparisons(store: Store, pairs: Sequence[ResponsePair]) -> None:
    """Store prompts, responses and comparisons of the pairs; duplicates are ignored."""
    distinct = [pair for pair in pairs if pair.comparison is not None]
    with store.transaction() as writer:
        writer.add_prompts(replace(pair.prompt, extra=pair.prompt.extra | EVALUATION_MARK) for pair in distinct)
        writer.add_responses(response for pair in distinct for response in (pair.a, pair.b))
        writer.add_comparisons(pair.comparison for pair in distinct if pair.comparison is not None)


def read_judgements(store: Store, comparisons: Collection[str]) -> list[Judgement]:
    """Return all votes on the comparisons with these ids; a reviewer's decision, who knew them, is none."""
    return [
        judgement
        for judgement in store.judgements()
        if judgement.comparison_id in comparisons and not judgement.adjudicates
    ]


def compute_people_result(
    pairs: Sequence[ResponsePair], shares: Sequence[float | None], judgements: Sequence[Judgement]
) -> PeopleResult:
    """Return b's win rate over the pairs that `choose_counted` returns; prompts are the clusters of its interval.

    Where a strategy chose what was asked, each pair weighs as `weigh_draws` says, in the rate at equal length too.
    """
    counted = choose_counted(pairs, shares)
    num_distinct = sum(pair.comparison is not None for pair in pairs)
    num_judged = sum(pairs[index].comparison is not None for index in counted)
    values = [share for index in counted if (share := shares[index]) is not None]
    clusters = [pairs[index].prompt.conversation or pairs[index].prompt.id for index in counted]
    longer = [pairs[index].length_difference for index in counted]
    drawn = weigh_draws(judgements)
    weights = None
    if drawn is not None:
        of_comparison = {each.comparison_id: weight for each, weight in zip(judgements, drawn.tolist(), strict=True)}
        ids = [pair.comparison.id if pair.comparison else "" for pair in (pairs[index] for index in counted)]
        weights = [of_comparison.get(each, 1.0) for each in ids]
    counts = None if weights is None else np.array(weights) * sum(weights) / np.square(weights).sum()  # as Kish counts
    controlled = control_length(values, longer, clusters, counts)
    return PeopleResult(
        win_rate=sum(values) / len(values) if weights is None else float(np.average(values, weights=weights)),
        interval=rate_interval(values, clusters, weights),
        ties=values.count(0.5),
        n=len(values),
        length_controlled=controlled and controlled.rate,
        length_controlled_interval=controlled and controlled.interval,
        unjudged=num_distinct - num_judged,
        judgements=len(judgements),
        people=len({judgement.annotator for judgement in judgements}),
    )


def choose_counted(pairs: Sequence[ResponsePair], shares: Sequence[float | None]) -> list[int]:
    """Return which pairs count: those judged, and the same fraction of the identical responses, which are ties.

    With all of the identical ones, which nobody need judge, a page closed early would bias the rate towards 1/2.
    """
    identical = [index for index, pair in enumerate(pairs) if pair.comparison is None]
    judged = [index for index, pair in enumerate(pairs) if pair.comparison is not None and shares[index] is not None]
    num_distinct = len(pairs) - len(identical)
    return judged + identical[: round(len(identical) * len(judged) / num_distinct) if num_distinct else None]
