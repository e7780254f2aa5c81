"""How far people's feedback can be trusted: agreement, the skill of each annotator, biases, and who stands out.

It reads judgements only; whether they were simulated is never looked at.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from likelier.feedback.agreement import alpha_interval, krippendorff_alpha
from likelier.feedback.audit import Answers, Leanings, fast_answers, lean, leanings, ties
from likelier.feedback.reliability import dawid_skene
from likelier.records import JudgedComparison

Floats = NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.01
STRONG_LEAN = float(np.log(7 / 3))
"""A side or length lean counts if even two standard errors below it would make 7 to 3 of a toss-up."""
LOW_SKILL = 0.4
"""Of the typical skill: below it somebody may be random; as far below 0, reversed."""
NO_SKILL = 0.1
"""Skill is compatible with chance if its lower bound, at one-sided p 0.0001 (3.72 standard errors), is below this."""
MANY_MORE = 0.3
"""Ties, or answers too fast to have read, count as too many from this far above the others' rate on."""
MIN_SHARED = 20
"""Nobody is called random or reversed over fewer judgements that somebody else has judged too."""
LEANS = {"left", "right", "longer", "shorter"}
SIGNS = {"left": 1.0, "right": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class AnnotatorCheck:
    """What was found of one annotator."""

    id: str
    judgements: int
    skill: float | None
    """How far they follow what the others say, against the panel's typical member: 1 typical, 0 random, negative
    reversed; of who is flagged for length, what is left beside that. None: no judgement of theirs can be compared."""
    error_rate: float | None
    """How probably a judgement of theirs that is no tie is wrong by the estimated truth; None like `skill`."""
    left_rate: float | None
    """Share of left among their answers that are no tie; None: only ties."""
    flags: tuple[str, ...]
    """Of random, left, right, longer, shorter, reversed at most one; fast; too_many_ties."""


@dataclass(frozen=True)
class FeedbackCheck:
    """What was found of all feedback."""

    comparisons: int
    judgements: int
    annotators: tuple[AnnotatorCheck, ...]
    """Sorted by id; judgements by nobody in particular (annotator "") belong to none."""
    alpha: float | None
    """Krippendorff's alpha, ties being a third label; None without overlap."""
    alpha_interval: tuple[float, float] | None
    position_bias: float | None
    """Rate of left among answers that are no tie, minus one half."""
    length_bias: float | None
    """Rate of the longer response among answers that are no tie, minus one half."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: intervals and flags as lists."""
        record = asdict(self)
        record["annotators"] = [{**person, "flags": list(person["flags"])} for person in record["annotators"]]
        record["alpha_interval"] = list(self.alpha_interval) if self.alpha_interval else None
        return record


def check(judged: Sequence[JudgedComparison], seed: int = 0) -> FeedbackCheck:
    """Agreement, skills, biases and flags. Deterministic; `seed` draws the resamples of alpha's interval."""
    known = [one for one in judged if one.judgement.annotator]
    said = (  # a label: the first response by id, the second, or a tie
        [one.judgement.comparison_id for one in known],
        [one.judgement.annotator for one in known],
        (signs(known) * id_order(known)).tolist(),
    )
    sides = [one for one in judged if one.judgement.extra.get("sides") != "unknown"]
    return FeedbackCheck(
        comparisons=len({one.judgement.comparison_id for one in judged}),
        judgements=len(judged),
        annotators=check_annotators(known) if known else (),
        alpha=krippendorff_alpha(*said),
        alpha_interval=alpha_interval(*said, seed=seed),
        position_bias=lean(signs(sides)),
        length_bias=lean(signs(judged) * longer_side(judged)),
    )


def signs(judged: Sequence[JudgedComparison]) -> Floats:
    """1 left, -1 right, 0 tie"""
    return np.array([SIGNS[one.judgement.choice] for one in judged])


def longer_side(judged: Sequence[JudgedComparison]) -> Floats:
    """1: the left response is longer, -1: the right one, 0: equal, in characters"""
    longer_by = np.array([len(one.left.text) - len(one.right.text) for one in judged], dtype=float)
    return longer_by.clip(-1, 1)


def id_order(judged: Sequence[JudgedComparison]) -> Floats:
    """1 if the left response comes first by id, else -1: which is which, whatever side it was shown on"""
    return np.array([1.0 if one.judgement.left < one.judgement.right else -1.0 for one in judged])


def check_annotators(judged: Sequence[JudgedComparison]) -> tuple[AnnotatorCheck, ...]:
    """Each annotator by id; every judgement has one."""
    names, annotator = np.unique([one.judgement.annotator for one in judged], return_inverse=True)
    sign = signs(judged)
    consensus, errors = what_others_say(judged, annotator, sign)
    seconds = np.array([one.judgement.duration_seconds for one in judged], dtype=float)
    answers = Answers(annotator, sign, consensus, longer_side(judged), seconds)
    shared = np.bincount(annotator[(consensus != 0) & (sign != 0)], minlength=len(names))
    found = leanings(answers)
    flags = flag(found, answers, shared)
    skills = [
        found.skill_apart[number] if {"longer", "shorter"}.intersection(names_of) else found.skill[number]
        for number, names_of in enumerate(flags)
    ]
    counts = Counter(annotator.tolist())
    return tuple(
        AnnotatorCheck(
            id=str(name),
            judgements=counts[number],
            skill=float(skills[number]) if shared[number] else None,
            error_rate=float(errors[number]) if shared[number] else None,
            left_rate=left_rate(sign[annotator == number]),
            flags=flags[number],
        )
        for number, name in enumerate(names)
    )


def left_rate(sign: Floats) -> float | None:
    leaning = lean(sign)
    return None if leaning is None else leaning + 0.5


def what_others_say(
    judged: Sequence[JudgedComparison], annotator: NDArray[np.intp], sign: Floats
) -> tuple[Floats, Floats]:
    """(P(left is better) - P(right is better) by the others' votes [N], error rate [annotators]).

    Error rates by Dawid and Skene's model with one accuracy for each annotator, the classes of a comparison being which
    response (in the order of their ids) is better. A vote counts log(accuracy / error); an annotator's own votes on the
    comparison are taken off again, since the consensus that someone is held against must not be their own.
    """
    item = np.unique([one.judgement.comparison_id for one in judged], return_inverse=True)[1]
    order = id_order(judged)
    voted, errors = sign != 0, np.full(int(annotator.max()) + 1, 0.5)
    if voted.any():
        crowd = dawid_skene(item[voted], annotator[voted], (sign * order < 0)[voted].astype(int), 2, symmetric=True)
        errors[crowd.annotators] = crowd.confusion[:, 0, 1]
    votes = sign * order * np.log((1 - errors) / errors)[annotator]
    own = np.unique(item * len(errors) + annotator, return_inverse=True)[1]
    log_odds = np.bincount(item, votes)[item] - np.bincount(own, votes)[own]
    return np.tanh(order * log_odds / 2), errors


def flag(found: Leanings, answers: Answers, shared: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """The flags of each annotator: surprising, at a false discovery rate over all annotators and flags; and large.

    One vice shows in several numbers, so at most one of the first six is named: the most surprising lean to a side or a
    length; without a lean `reversed`; without that `random`, which is little skill, compatible with none at all.
    """
    more_ties, ties_p = ties(answers)
    more_fast, fast_p = fast_answers(answers)
    p_values = {name: norm.sf(z) for name, z in found.z.items()} | {"fast": fast_p, "too_many_ties": ties_p}
    rejected = false_discovery_control(np.concatenate(list(p_values.values()))) <= FALSE_DISCOVERY_RATE
    surprising = dict(zip(p_values, np.split(rejected, len(p_values)), strict=True))
    enough, least_skill = shared >= MIN_SHARED, lower_bound(found.skill, -found.z["reversed"], 3.72)
    large = {
        "left": lower_bound(found.side, found.z["left"], 2) >= STRONG_LEAN,
        "right": lower_bound(-found.side, found.z["right"], 2) >= STRONG_LEAN,
        "longer": lower_bound(found.length, found.z["longer"], 2) >= STRONG_LEAN,
        "shorter": lower_bound(-found.length, found.z["shorter"], 2) >= STRONG_LEAN,
        "reversed": enough & (found.skill <= -LOW_SKILL),
        "random": enough & (found.skill <= LOW_SKILL) & (least_skill <= NO_SKILL),
        "fast": more_fast >= MANY_MORE,
        "too_many_ties": more_ties >= MANY_MORE,
    }
    stands = {name: surprising[name] & large[name] for name in large}
    flags = []
    for number in range(len(shared)):
        standing = [name for name in stands if stands[name][number]]
        leans = sorted(LEANS.intersection(standing), key=lambda name: -float(found.z[name][number]))
        vice = (*leans, *(name for name in ("reversed", "random") if name in standing))[:1]
        flags.append((*vice, *(name for name in ("fast", "too_many_ties") if name in standing)))
    return flags


def lower_bound(effect: Floats, z: Floats, num_errors: float) -> Floats:
    """The effect less so many of its standard errors, effect / z; effects below 0 as they are."""
    errors = np.divide(effect, z, out=np.zeros_like(effect), where=z > 0)
    return effect - num_errors * errors
