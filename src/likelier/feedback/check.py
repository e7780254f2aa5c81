"""Quality report on feedback: agreement, each annotator's skill and biases, and flags for unreliable annotators.

Uses judgements only, not the information which annotators are simulated.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.agreement import PairAgreement, compare_annotators, tabulate
from likelier.feedback.audit import mean_bias
from likelier.feedback.careless import Careless, estimate_careless
from likelier.feedback.columns import Interval, list_intervals, list_known, list_rates
from likelier.feedback.dissent import find_own_tastes
from likelier.feedback.expected import Expected, SkillModel, expect_within_groups
from likelier.feedback.flags import flag_annotators
from likelier.feedback.measures import Measures, describe_changes, measure_annotators
from likelier.feedback.panel_audits import Audit, audit_panel
from likelier.feedback.rating_agreement import RatingAgreement
from likelier.feedback.shares import Share
from likelier.feedback.strengths import fit_thresholds
from likelier.feedback.taste_report import Tastes
from likelier.feedback.tastes import find_tastes, list_responses
from likelier.feedback.votes import Votes, arrange_votes
from likelier.records import JudgedComparison, Response

Floats = NDArray[np.float64]

NO_TASTE = frozenset({"random", "reversed"})
"""Flags that a taste of one's own refutes."""
IGNORES_PAIR = frozenset({"left", "right", "longer", "shorter", "style", "random", "fast"})
"""Flags of people whose answers say little of the pair."""
MIN_SHARED_BY_PAIR, MAX_PAIRS = 20, 100
"""Comparisons that two people share for a kappa of theirs, and how many pairs of people have one: those with most."""


@dataclass(frozen=True)
class AnnotatorCheck:
    """Results for one annotator."""

    id: str
    judgements: int
    skill: float | None
    """Slope on the others' consensus relative to a typical annotator: 1 typical, 0 random, negative reversed; for those
    flagged for length, net of the length bias. None: shares no judgement with others."""
    error_rate: float | None
    """Estimated probability that an answer other than a tie is wrong, by Dawid and Skene or against the others' scores;
    None like `skill`."""
    left_rate: float | None
    """Share of left among the answers other than ties; None: only ties."""
    flags: tuple[str, ...]
    """At most one of random, left, right, longer, shorter, style, reversed; then those of fast, too_many_ties,
    inconsistent, drifting, gold, copied."""
    repeats: int = 0
    """Answers to a comparison that they had answered before."""
    consistency: float | None = None
    """Share of these that are as the first answer was; None without repeats."""
    consistency_interval: Interval | None = None
    """95% interval over comparisons; None for one."""
    style: str | None = None
    """Feature of style that the person leans to, or away from, most; None where no answer tells."""
    style_lean: float | None = None
    """Log-odds of the response that has more of it, beyond the consensus, length and the panel's lean."""
    style_interval: Interval | None = None
    skill_change: float | None = None
    """Change of the skill from the first answer to the last, beyond the panel's."""
    skill_change_interval: Interval | None = None
    speed_change: float | None = None
    """Seconds of the last answer as a multiple of those of the first; None for fewer than ten timed ones."""
    speed_change_interval: Interval | None = None
    triads: int = 0
    """Triads of responses that they compared in all three ways, without a tie."""
    cyclic: float | None = None
    """Share of these that go round in a circle."""
    cyclic_expected: float | None = None
    """The same by chance, of independent answers with the same probabilities."""
    gold: int = 0
    """Answers to gold items."""
    gold_accuracy: float | None = None
    gold_interval: Interval | None = None
    copied_with: tuple[str, ...] = ()
    """Ids of people with whom they agree far more than both skills explain."""
    careless: float | None = None
    """Estimated share of answers that ignore the responses, honest mistakes on close pairs not among them; for people
    who answer the reverse, of the answers turned round. None: nothing to compare the answers with."""
    careless_interval: Interval | None = None
    """95% interval of this share, by tenths."""
    guess_left: float | None = None
    """Probability of left among these answers: 1/2, but for people who lean to a side."""
    thresholds: tuple[float, float, float] | None = None
    """Log-odds from which the person says that a side is better, better by 2, and by 3 (`fit_thresholds`); the first is
    0 without ties. None: too few answers say how much better."""
    own_taste: bool = False
    """True for somebody whose answers depart from the others' by a taste, their own or one shared with others who would
    have been flagged, too."""
    rankings: int = 0
    """Their pairs are part of all above, but for `judgements`."""
    ratings: int = 0
    rating_skill: float | None = None
    """Slope of the ratings on the others' scores relative to a typical person; None: nothing to compare with."""
    rating_careless: float | None = None
    """Estimated share of ratings that ignore the response; None like `rating_skill`."""
    rating_careless_interval: Interval | None = None
    rating_flags: tuple[str, ...] = ()
    """`random` or `reversed`, by the ratings."""


@dataclass(frozen=True)
class FeedbackCheck:
    """Results for all feedback."""

    comparisons: int
    judgements: int
    annotators: tuple[AnnotatorCheck, ...]
    """Sorted by id; anonymous judgements (annotator "") belong to none."""
    alpha: float | None
    """Krippendorff's alpha with ties as a third label; None without overlap."""
    alpha_interval: tuple[float, float] | None
    position_bias: float | None
    """Rate of left among answers other than ties, minus one half."""
    length_bias: float | None
    """Rate of the longer response among answers other than ties, minus one half."""
    alpha_ordinal: float | None = None
    """The same with a tie between both responses: to differ by a tie is to differ less."""
    fleiss_kappa: float | None = None
    """None where comparisons were not judged equally often."""
    agreement: float | None = None
    """Share of pairs of people who judged the same comparison and gave the same answer; None without overlap."""
    agreement_interval: tuple[float, float] | None = None
    kappas: tuple[PairAgreement, ...] = ()
    """Of the pairs of people that share most comparisons."""
    repeats: int = 0
    consistency: float | None = None
    """Of all people, as of each."""
    skill_model: SkillModel | None = None
    """By what the others' answers are compared with each: scores of responses where these recur in several comparisons
    (`skilled_bradley_terry`), else the votes on the same comparison (`dawid_skene`); None without people."""
    audits: tuple[Audit, ...] = ()
    """A figure with an interval and a sentence for each influence on the answers of all."""
    tastes: Tastes | None = None
    """Groups of people with tastes of their own: who is in one is compared with its other members. None of checks made
    before there were any, and without people."""
    rankings: int = 0
    ratings: int = 0
    rating_agreement: tuple[RatingAgreement, ...] = ()
    """Of each kind and scale of ratings."""
    alpha_ordinal_interval: tuple[float, float] | None = None
    fleiss_interval: tuple[float, float] | None = None

    @property
    def flagged(self) -> list[str]:
        """Ids of the annotators with flags."""
        return [annotator.id for annotator in self.annotators if annotator.flags or annotator.rating_flags]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with intervals and flags as lists."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in RECORDS:
            record[name] = [to_plain(entry) for entry in record[name]]
        for name in INTERVALS:
            record[name] = list(record[name]) if record[name] else None
        record["tastes"] = self.tastes.to_json() if self.tastes else None
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "FeedbackCheck":
        """Rebuild the record from the output of `to_json`; unknown keys are ignored."""
        values = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        for name in INTERVALS:
            values[name] = tuple(record[name]) if record.get(name) else None
        for name, kind in RECORDS.items():
            values[name] = tuple(kind(**to_tuples(entry)) for entry in record.get(name, ()))
        values["tastes"] = Tastes.from_json(record["tastes"]) if record.get("tastes") else None
        return cls(**values)


RECORDS: dict[str, Any] = {
    "annotators": AnnotatorCheck,
    "kappas": PairAgreement,
    "audits": Audit,
    "rating_agreement": RatingAgreement,
}
"""Fields of `FeedbackCheck` that hold records of a kind."""
INTERVALS = ("alpha_interval", "agreement_interval", "alpha_ordinal_interval", "fleiss_interval")


def to_plain(entry: Any) -> dict[str, Any]:
    """Return a record's values, its tuples as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(entry).items()}


def to_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record, its lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def check(judged: Sequence[JudgedComparison], gold: Mapping[str, str | None] | None = None) -> FeedbackCheck:
    """Measure agreement, skills and biases, and flag annotators. Deterministic.

    `gold` maps comparisons to the id of the response that the owner knows to be better, None for a tie.
    """
    judged = [entry for entry in judged if not entry.judgement.adjudicates]  # made in knowledge of the others
    everything, names = arrange_votes(judged, gold)
    votes = everything.select(everything.is_vote)
    signed = votes.select(votes.annotator >= 0)
    labelled = signed.comparison.tolist(), signed.annotator.tolist(), signed.labels.tolist()
    table = tabulate(*labelled, "ordinal", signed.weight)
    repeats = everything.count_repeats(len(names))
    found = check_people(signed, names, list_responses(judged, everything), repeats) if names else None
    num_repeats = int(repeats.trials.sum())
    return FeedbackCheck(
        comparisons=len(np.unique(everything.comparison)),
        judgements=len(judged),
        annotators=found.people if found else (),
        alpha=table.alpha(),
        alpha_interval=table.alpha_interval(),
        position_bias=mean_bias(np.where(votes.has_sides, votes.sign, 0.0), votes.weight),
        length_bias=mean_bias(votes.sign * votes.longer, votes.weight),
        alpha_ordinal=table.alpha("ordinal"),
        alpha_ordinal_interval=table.alpha_interval("ordinal"),
        fleiss_kappa=table.fleiss_kappa(),
        fleiss_interval=table.fleiss_interval(),
        agreement=table.agreement(),
        agreement_interval=table.agreement_interval(),
        kappas=compare_people(signed if signed.by_chance is None else signed.select(signed.by_chance), names),
        repeats=num_repeats,
        consistency=(num_repeats - int(repeats.events.sum())) / num_repeats if num_repeats else None,
        skill_model=found.expected.model if found else None,
        audits=audit_panel(signed, found.expected, found.measures) if found else (),
        tastes=found.tastes if found else None,
    )


class PeopleCheck(NamedTuple):
    """Results for all people, and what they rest on."""

    people: tuple[AnnotatorCheck, ...]
    """Sorted by id."""
    tastes: Tastes
    expected: Expected
    measures: Measures


def check_people(votes: Votes, names: Sequence[str], responses: Sequence[Response], repeats: Share) -> PeopleCheck:
    """Check everybody by their votes beside the others' of their taste; `responses` are those that `votes` number."""
    finding = find_tastes(votes, names, responses)
    expected = expect_within_groups(votes, len(names), finding.group)
    measures = measure_annotators(votes, len(names), expected, repeats)
    people = add_careless(describe_annotators(votes, names, expected, measures), votes, finding.group)
    people = spare_dissenters(people, votes, expected.left_better, responses)
    suspects = sum("random" in person.flags for person in people)
    return PeopleCheck(people, replace(finding.tastes, suspects=suspects), expected, measures)


def spare_dissenters(
    people: tuple[AnnotatorCheck, ...], votes: Votes, left_better: Floats, responses: Sequence[Response]
) -> tuple[AnnotatorCheck, ...]:
    """Take the flags `random` and `reversed` from people whose answers follow a taste, their own or other suspects'."""
    suspects = [number for number, person in enumerate(people) if NO_TASTE.intersection(person.flags)]
    alone = [number for number in suspects if "reversed" in people[number].flags]
    number_of = {person.id: number for number, person in enumerate(people)}
    copies = {number: [number_of[name] for name in people[number].copied_with] for number in suspects}
    spared = set(find_own_tastes(votes, left_better, suspects, responses, alone=alone, copies=copies))
    together = {people[number].id for number in spared}
    return tuple(clear(person, together) if number in spared else person for number, person in enumerate(people))


def clear(person: AnnotatorCheck, together: Collection[str]) -> AnnotatorCheck:
    """Return somebody who answers by a taste, without what it looked like.

    That is chance or the reverse, a large careless share beside the others' taste, and to have copied from those who
    are `together` in it.
    """
    copied_with = tuple(name for name in person.copied_with if name not in together)
    explained = NO_TASTE if copied_with else {*NO_TASTE, "copied"}
    return replace(
        person,
        own_taste=True,
        flags=tuple(flag for flag in person.flags if flag not in explained),
        copied_with=copied_with,
        careless=None if person.careless is None else 0.0,
        careless_interval=None,
    )


def compare_people(votes: Votes, names: Sequence[str]) -> tuple[PairAgreement, ...]:
    """Return the agreement of the pairs of people who share most comparisons, by name."""
    labelled = votes.comparison.tolist(), votes.annotator.tolist(), votes.labels.tolist()
    pairs = compare_annotators(*labelled, MIN_SHARED_BY_PAIR, MAX_PAIRS)
    return tuple(replace(pair, first=names[int(pair.first)], second=names[int(pair.second)]) for pair in pairs)


def check_annotators(
    votes: Votes, names: Sequence[str], expected: Expected, repeats: Share
) -> tuple[AnnotatorCheck, ...]:
    """Check each annotator by their votes, sorted by id; `repeats` counts their repeated answers."""
    return describe_annotators(votes, names, expected, measure_annotators(votes, len(names), expected, repeats))


def describe_annotators(
    votes: Votes, names: Sequence[str], expected: Expected, measures: Measures
) -> tuple[AnnotatorCheck, ...]:
    """Return the results for each annotator, sorted by id."""
    flags = flag_annotators(measures)
    biases, repeats, gold, cycles = measures.biases, measures.repeats, measures.gold, measures.cycles
    net_of_length = np.array([bool({"longer", "shorter"}.intersection(own)) for own in flags], bool)
    shares = measures.num_shared > 0
    columns: dict[str, Sequence[Any]] = {
        "id": names,
        "judgements": (np.bincount(votes.annotator, minlength=len(names)) + repeats.trials).tolist(),
        "skill": list_known(np.where(net_of_length, biases.skill_given_length, biases.skill), shares),
        "error_rate": list_known(expected.error_rates, shares),
        "left_rate": list_rates(votes.annotator, votes.sign > 0, votes.sign != 0, len(names)),
        "flags": flags,
        "repeats": repeats.trials.tolist(),
        "consistency": list_known(repeats.complement().rates()),
        "consistency_interval": list_intervals(repeats.complement().intervals()),
        "triads": cycles.triads.tolist(),
        "cyclic": list_known(cycles.cyclic / np.maximum(cycles.triads, 1), cycles.triads > 0),
        "cyclic_expected": list_known(cycles.expected / np.maximum(cycles.triads, 1), cycles.triads > 0),
        "gold": gold.trials.tolist(),
        "gold_accuracy": list_known(gold.complement().rates()),
        "gold_interval": list_intervals(gold.complement().intervals()),
        "copied_with": list_copies(measures, names),
        **describe_changes(measures),
    }
    return tuple(
        AnnotatorCheck(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)
    )


def add_careless(
    people: tuple[AnnotatorCheck, ...], votes: Votes, group: NDArray[np.int64]
) -> tuple[AnnotatorCheck, ...]:
    """Add the careless share and the thresholds of each annotator by the others of their group, as far as they tell.

    `group` [annotators] is -1 without one: such people are compared with everybody. Another taste is not carelessness.
    """
    turned = np.where(["reversed" in person.flags for person in people], -1.0, 1.0)[votes.annotator]
    turned_votes, added = replace(votes, sign=votes.sign * turned), list(people)
    reads = np.array([IGNORES_PAIR.isdisjoint(person.flags) for person in people], bool)
    for number in np.unique(group):
        rows = (group[votes.annotator] == number) | (number < 0)
        members, annotator = np.unique(votes.annotator[rows], return_inverse=True)
        own_votes = replace(turned_votes.select(rows), annotator=annotator)
        careless = estimate_careless_beside(own_votes, reads[members])
        if careless is None:
            continue
        thresholds = fit_thresholds(own_votes, careless, len(members))
        own = np.flatnonzero(group[members] == number)
        for place, member in zip(own, members[own].tolist(), strict=True):
            share, left = round(float(careless.shares[place]), 3), float(careless.guess_left[place])
            known = thresholds is not None and np.isfinite(thresholds[place]).all()
            ends = tuple(np.round(thresholds[place], 4).tolist()) if thresholds is not None and known else None
            interval = round(float(careless.low[place]), 1), round(float(careless.high[place]), 1)
            found = {"careless": share, "careless_interval": interval, "guess_left": left, "thresholds": ends}
            added[member] = replace(people[member], **found)
    return tuple(added)


def estimate_careless_beside(votes: Votes, reads: NDArray[np.bool_]) -> Careless | None:
    """Estimate the careless shares of people, [people], of the others beside those alone who read by their flags.

    With people in the comparison who are known not to read, some others look careless too: of a panel of twelve with
    four such people, who judge 40 times each, the other eight had shares of 0.12 instead of 0.08.
    """
    careless = estimate_careless(votes, len(reads))
    if careless is None or reads.all():
        return careless
    among = estimate_careless(votes.select(reads[votes.annotator]), len(reads))
    if among is None:
        return careless
    return Careless(*(np.where(reads, own, beside) for own, beside in zip(among, careless, strict=True)))


def list_copies(measures: Measures, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each annotator the names of those with whom they agree far too much."""
    others: list[list[str]] = [[] for _ in names]
    for copy in measures.copies.found:
        others[copy.first].append(names[copy.second])
        others[copy.second].append(names[copy.first])
    return [tuple(sorted(each)) for each in others]
