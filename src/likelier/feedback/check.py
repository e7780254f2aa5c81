"""Quality report on feedback: agreement, each annotator's skill and biases, and flags for unreliable annotators.

Uses judgements only, not the information which annotators are simulated.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
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
from likelier.feedback.reliability import CHOICE_SIGNS, dawid_skene
from likelier.feedback.votes import Repeats, count_repeats, first_answers
from likelier.records import JudgedComparison

Floats = NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.01
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
    """Estimated probability that an answer other than a tie is wrong (Dawid-Skene); None like `skill`."""
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
    num_judgements, repeats = len(judged), count_repeats([entry for entry in judged if entry.judgement.annotator])
    judged = first_answers(judged)
    signed = [entry for entry in judged if entry.judgement.annotator]
    labelled = (  # items, annotators, labels; a label is the first response by id (1), the second (-1) or a tie (0)
        [entry.judgement.comparison_id for entry in signed],
        [entry.judgement.annotator for entry in signed],
        (choice_signs(signed) * id_order(signed)).tolist(),
    )
    table = tabulate(*labelled, "ordinal")
    known_sides = [entry for entry in judged if entry.judgement.extra.get("sides") != "unknown"]
    return FeedbackCheck(
        comparisons=len({entry.judgement.comparison_id for entry in judged}),
        judgements=num_judgements,
        annotators=check_annotators(signed, repeats) if signed else (),
        alpha=table.alpha(),
        alpha_interval=table.alpha_interval(),
        position_bias=mean_bias(choice_signs(known_sides)),
        length_bias=mean_bias(choice_signs(judged) * longer_side(judged)),
        alpha_ordinal=table.alpha("ordinal"),
        fleiss_kappa=table.fleiss_kappa(),
        agreement=table.agreement(),
        agreement_interval=table.agreement_interval(),
        kappas=tuple(compare_annotators(*labelled, MIN_SHARED_BY_PAIR, MAX_PAIRS)),
        repeats=sum(each.total for each in repeats.values()),
        consistency=measure_consistency(repeats.values()),
    )


def measure_consistency(repeats: Iterable[Repeats]) -> float | None:
    """Return the share of repeated answers that are as the first; None without any."""
    same, total = np.sum([[0, 0], *repeats], axis=0)
    return float(same / total) if total else None


def choice_signs(judged: Sequence[JudgedComparison]) -> Floats:
    """Return 1 for left, -1 for right, 0 for a tie, [N]."""
    return np.array([CHOICE_SIGNS[entry.judgement.choice] for entry in judged])


def longer_side(judged: Sequence[JudgedComparison]) -> Floats:
    """Return 1 where the left response is longer in characters, -1 where the right one is, else 0, [N].

    Media files have no length to compare: 0.
    """
    lengths = [(len(entry.left.text), len(entry.right.text)) if entry.is_text else (0, 0) for entry in judged]
    return np.array([left - right for left, right in lengths], dtype=float).clip(-1, 1)


def id_order(judged: Sequence[JudgedComparison]) -> Floats:
    """Return 1 where the left response comes first by id, else -1, [N]: converts sides to labels of responses."""
    return np.array([1.0 if entry.judgement.left < entry.judgement.right else -1.0 for entry in judged])


def check_annotators(judged: Sequence[JudgedComparison], repeats: Mapping[str, Repeats]) -> tuple[AnnotatorCheck, ...]:
    """Check each annotator by their first answers, which `judged` holds, sorted by id; each must name one."""
    counts = Counter(entry.judgement.annotator for entry in judged)
    names, annotator = np.unique([entry.judgement.annotator for entry in judged], return_inverse=True)
    sign = choice_signs(judged)
    consensus, error_rates = leave_one_out_consensus(judged, annotator, sign)
    seconds = np.array([entry.judgement.duration_seconds for entry in judged], dtype=float)
    answers = Answers(annotator, sign, consensus, longer_side(judged), seconds)
    num_left, num_decided = np.bincount(annotator, sign > 0), np.bincount(annotator, sign != 0)
    num_shared = np.bincount(annotator[(consensus != 0) & (sign != 0)], minlength=len(names))
    biases = estimate_biases(answers)
    flags = flag_annotators(biases, answers, num_shared)
    skills = [
        biases.skill_given_length[number] if {"longer", "shorter"}.intersection(own_flags) else biases.skill[number]
        for number, own_flags in enumerate(flags)
    ]
    return tuple(
        AnnotatorCheck(
            id=str(name),
            judgements=counts[str(name)] + repeats[str(name)].total,
            skill=float(skills[number]) if num_shared[number] else None,
            error_rate=float(error_rates[number]) if num_shared[number] else None,
            left_rate=float(num_left[number] / num_decided[number]) if num_decided[number] else None,
            flags=flags[number],
            repeats=repeats[str(name)].total,
            consistency=measure_consistency([repeats[str(name)]]),
        )
        for number, name in enumerate(names)
    )


def leave_one_out_consensus(
    judged: Sequence[JudgedComparison], annotator: NDArray[np.intp], sign: Floats
) -> tuple[Floats, Floats]:
    """Return (P(left is better) - P(right is better) by the others' votes [N], error rates [annotators]).

    Error rates come from Dawid and Skene's model with one accuracy per annotator; the two classes of a comparison are
    its responses, sorted by id. A vote has the weight log(accuracy / error). An annotator's own votes are subtracted,
    so that nobody is compared with a consensus that includes them.
    """
    item = np.unique([entry.judgement.comparison_id for entry in judged], return_inverse=True)[1]
    order = id_order(judged)
    decided, error_rates = sign != 0, np.full(int(annotator.max()) + 1, 0.5)
    if decided.any():
        labels = (sign * order < 0)[decided].astype(int)
        crowd = dawid_skene(item[decided], annotator[decided], labels, 2, symmetric=True)
        error_rates[crowd.annotators] = crowd.confusion[:, 0, 1]
    votes = sign * order * np.log((1 - error_rates) / error_rates)[annotator]
    item_by_annotator = np.unique(item * len(error_rates) + annotator, return_inverse=True)[1]
    log_odds = np.bincount(item, votes)[item] - np.bincount(item_by_annotator, votes)[item_by_annotator]
    return np.tanh(order * log_odds / 2), error_rates


def flag_annotators(biases: AnnotatorBiases, answers: Answers, num_shared: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """Return each annotator's flags: effects that are both large and significant.

    Significance controls the false discovery rate over all annotators and flags. One bad habit shows in several
    numbers, so at most one of the first six flags is given: the most significant side or length bias, else `reversed`,
    else `random`, which means low skill that is compatible with none.
    """
    excess_ties, ties_p = measure_excess_ties(answers)
    excess_fast, fast_p = measure_fast_answers(answers)
    p_values = {name: norm.sf(z) for name, z in biases.z.items()} | {"fast": fast_p, "too_many_ties": ties_p}
    rejected = false_discovery_control(np.concatenate(list(p_values.values()))) <= FALSE_DISCOVERY_RATE
    significant = dict(zip(p_values, np.split(rejected, len(p_values)), strict=True))
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
