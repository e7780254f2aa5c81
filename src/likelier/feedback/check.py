"""Quality report on feedback: agreement, each annotator's skill and biases, and flags for unreliable annotators.

Uses judgements only, not the information which annotators are simulated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from likelier.feedback.agreement import PairAgreement, compare_annotators, tabulate
from likelier.feedback.audit import (
    AnnotatorBiases,
    Answers,
    estimate_biases,
    mean_bias,
    measure_excess_ties,
    measure_fast_answers,
)
from likelier.feedback.expected import Expected, SkillModel, expect_answers
from likelier.feedback.votes import Votes, arrange_votes
from likelier.records import JudgedComparison

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FALSE_DISCOVERY_RATE = 0.01
RANDOM_DISCOVERY_RATE = 0.002
"""Of `random`: with few people the consensus is noisy, which the test of skill does not know. At 0.01, 7 of 250 honest
crowds of 5 people with 40 judgements each had somebody flagged for it, at 0.002 two."""
STRONG_BIAS = float(np.log(7 / 3))
"""A side or length bias counts if its lower bound, two standard errors below, still turns 50:50 into 70:30."""
LOW_SKILL = 0.4
"""Relative to the typical skill of 1: random only below this, reversed only below minus this."""
NO_SKILL = 0.1
"""Skill is compatible with chance if its lower bound, at one-sided p 0.0001 (3.72 standard errors), is below this."""
MIN_EXCESS_RATE = 0.3
"""Ties, or answers too fast to have been read, are flagged from this far above the others' rate."""
MIN_SHARED = 20
"""Judgements shared with other annotators that it takes to call somebody random or reversed."""
BIAS_FLAGS = {"left", "right", "longer", "shorter"}
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
    """At most one of random, left, right, longer, shorter, reversed; then fast; then too_many_ties."""
    repeats: int = 0
    """Answers to a comparison that they had answered before."""
    consistency: float | None = None
    """Share of these that are as the first answer was; None without repeats."""


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

    @property
    def flagged(self) -> list[str]:
        """Ids of the annotators with flags."""
        return [annotator.id for annotator in self.annotators if annotator.flags]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with intervals and flags as lists."""
        record = asdict(self)
        record["annotators"] = [{**person, "flags": list(person["flags"])} for person in record["annotators"]]
        for name in ("alpha_interval", "agreement_interval"):
            record[name] = list(record[name]) if record[name] else None
        record["kappas"] = list(record["kappas"])
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "FeedbackCheck":
        """Rebuild the record from the output of `to_json`; unknown keys are ignored."""
        annotators = tuple(
            AnnotatorCheck(**{**person, "flags": tuple(person["flags"])}) for person in record["annotators"]
        )
        values = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        for name in ("alpha_interval", "agreement_interval"):
            values[name] = tuple(record[name]) if record.get(name) else None
        kappas = tuple(PairAgreement(**pair) for pair in record.get("kappas", ()))
        return cls(**values | {"annotators": annotators, "kappas": kappas})


def check(judged: Sequence[JudgedComparison]) -> FeedbackCheck:
    """Measure agreement, skills and biases, and flag annotators. Deterministic."""
    judged = [entry for entry in judged if not entry.judgement.adjudicates]  # made in knowledge of the others
    everything, names = arrange_votes(judged)
    votes = everything.select(everything.is_vote)
    signed = votes.select(votes.annotator >= 0)
    labelled = signed.comparison.tolist(), signed.annotator.tolist(), signed.labels.tolist()
    table = tabulate(*labelled, "ordinal")
    same, repeated = everything.count_repeats(len(names))
    expected = expect_answers(signed, len(names)) if names else None
    return FeedbackCheck(
        comparisons=len(np.unique(everything.comparison)),
        judgements=len(judged),
        annotators=check_annotators(signed, names, expected, same, repeated) if expected else (),
        alpha=table.alpha(),
        alpha_interval=table.alpha_interval(),
        position_bias=mean_bias(votes.sign[votes.has_sides]),
        length_bias=mean_bias(votes.sign * votes.longer),
        alpha_ordinal=table.alpha("ordinal"),
        fleiss_kappa=table.fleiss_kappa(),
        agreement=table.agreement(),
        agreement_interval=table.agreement_interval(),
        kappas=compare_people(labelled, names),
        repeats=int(repeated.sum()),
        consistency=float(same.sum() / repeated.sum()) if repeated.any() else None,
        skill_model=expected.model if expected else None,
    )


def compare_people(
    labelled: tuple[list[int], list[int], list[float]], names: Sequence[str]
) -> tuple[PairAgreement, ...]:
    """Return the agreement of the pairs of people who share most comparisons, by name."""
    pairs = compare_annotators(*labelled, MIN_SHARED_BY_PAIR, MAX_PAIRS)
    return tuple(replace(pair, first=names[int(pair.first)], second=names[int(pair.second)]) for pair in pairs)


def check_annotators(
    votes: Votes, names: Sequence[str], expected: Expected, same: Indices, repeated: Indices
) -> tuple[AnnotatorCheck, ...]:
    """Check each annotator by their votes, sorted by id; `same` and `repeated` count their repeated answers."""
    count = len(names)
    answers = Answers(votes.annotator, votes.sign, expected.left_better, votes.longer, votes.seconds)
    num_judged = np.bincount(votes.annotator, minlength=count)
    num_left, num_decided = (np.bincount(votes.annotator, rows, count) for rows in (votes.sign > 0, votes.sign != 0))
    num_shared = np.bincount(votes.annotator[(expected.left_better != 0) & (votes.sign != 0)], minlength=count)
    biases = estimate_biases(answers)
    flags = flag_annotators(biases, answers, num_shared)
    skills = [
        biases.skill_given_length[number] if {"longer", "shorter"}.intersection(own_flags) else biases.skill[number]
        for number, own_flags in enumerate(flags)
    ]
    return tuple(
        AnnotatorCheck(
            id=name,
            judgements=int(num_judged[number] + repeated[number]),
            skill=float(skills[number]) if num_shared[number] else None,
            error_rate=float(expected.error_rates[number]) if num_shared[number] else None,
            left_rate=float(num_left[number] / num_decided[number]) if num_decided[number] else None,
            flags=flags[number],
            repeats=int(repeated[number]),
            consistency=float(same[number] / repeated[number]) if repeated[number] else None,
        )
        for number, name in enumerate(names)
    )


def flag_annotators(biases: AnnotatorBiases, answers: Answers, num_shared: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """Return each annotator's flags: effects that are both large and significant.

    Significance controls the false discovery rate over all annotators and flags. One bad habit shows in several
    numbers, so at most one of the first six flags is given: the most significant side or length bias, else `reversed`,
    else `random`, which means low skill that is compatible with none.
    """
    excess_ties, ties_p = measure_excess_ties(answers)
    excess_fast, fast_p = measure_fast_answers(answers)
    p_values = {name: norm.sf(z) for name, z in biases.z.items()} | {"fast": fast_p, "too_many_ties": ties_p}
    adjusted = np.split(false_discovery_control(np.concatenate(list(p_values.values()))), len(p_values))
    significant = {
        name: each <= (RANDOM_DISCOVERY_RATE if name == "random" else FALSE_DISCOVERY_RATE)
        for name, each in zip(p_values, adjusted, strict=True)
    }
    enough, least_skill = num_shared >= MIN_SHARED, lower_bound(biases.skill, -biases.z["reversed"], 3.72)
    large = {
        "left": lower_bound(biases.side, biases.z["left"], 2) >= STRONG_BIAS,
        "right": lower_bound(-biases.side, biases.z["right"], 2) >= STRONG_BIAS,
        "longer": lower_bound(biases.length, biases.z["longer"], 2) >= STRONG_BIAS,
        "shorter": lower_bound(-biases.length, biases.z["shorter"], 2) >= STRONG_BIAS,
        "reversed": enough & (biases.skill <= -LOW_SKILL),
        "random": enough & (biases.skill <= LOW_SKILL) & (least_skill <= NO_SKILL),
        "fast": excess_fast >= MIN_EXCESS_RATE,
        "too_many_ties": excess_ties >= MIN_EXCESS_RATE,
    }
    raised = {name: significant[name] & large[name] for name in large}
    flags = []
    for number in range(len(num_shared)):
        own = [name for name in raised if raised[name][number]]
        own_biases = sorted(BIAS_FLAGS.intersection(own), key=lambda name: -float(biases.z[name][number]))
        primary = (*own_biases, *(name for name in ("reversed", "random") if name in own))[:1]
        flags.append((*primary, *(name for name in ("fast", "too_many_ties") if name in own)))
    return flags


def lower_bound(effect: Floats, z: Floats, num_errors: float) -> Floats:
    """Return the effect minus `num_errors` standard errors (effect / z); effects below 0 are returned as they are."""
    errors = np.divide(effect, z, out=np.zeros_like(effect), where=z > 0)
    return effect - num_errors * errors
