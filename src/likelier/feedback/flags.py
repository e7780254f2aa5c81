"""Flags for unreliable annotators: effects that are both large and significant."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from likelier.feedback.measures import Measures

Floats = NDArray[np.float64]
Raised = NDArray[np.bool_]

FALSE_DISCOVERY_RATE = 0.01
DISCOVERY_RATES = {"random": 0.002, "style": 0.002, "gold": 0.002, "inconsistent": 0.002}
"""Of flags whose tests do not know how noisy the consensus of few people is, or how far honest people differ: chosen so
that at most 17 of 1,000 honest crowds of 5 people with 40 judgements each have anybody flagged."""
STRONG_BIAS = float(np.log(7 / 3))
"""A lean to a side, a length or a style counts if its lower bound, two standard errors below, still turns 50:50 into
70:30."""
LOW_SKILL = 0.4
"""Relative to the typical skill of 1: random only below this, reversed only below minus this."""
HONEST_SKILL = 0.55
"""Random only if the upper bound of the skill, two standard errors above, is below this: honest people's skills differ.
Of 200 honest crowds of 12 people with 100 judgements each, right in 0.7 to 0.9, ten had somebody flagged without it."""
NO_SKILL = 0.1
"""Skill is compatible with chance if its lower bound, two standard errors below, is below this: at 3.72 twice as many
honest people were flagged where some of them are right in 0.6 only, and no more of those who guess."""
MIN_EXCESS_RATE = 0.3
"""Ties, or answers too fast to have been read, are flagged from this far above the others' rate."""
MIN_EXCESS_ERRORS = 0.15
"""Repeats that differ from the first answer, and gold items missed, are flagged this far above the others' rate."""
MIN_DRIFT = 0.4
"""A fall of the skill counts if its bound, two standard errors nearer to none, is this large; 1 is a typical skill."""
MIN_SHARED = 20
"""Judgements shared with other annotators that it takes to call somebody random, reversed or drifting."""
PRIMARY = ("left", "right", "longer", "shorter", "style", "reversed", "random")
"""Flags of which one is given: one bad habit shows in several numbers. The most significant lean, then the others."""
FURTHER = ("fast", "too_many_ties", "inconsistent", "drifting", "gold", "copied")
"""Flags beside it."""
EXPLAINED = {"reversed": ("gold",)}
"""Who has the first flag does the second for the same reason."""


def flag_annotators(measures: Measures) -> list[tuple[str, ...]]:
    """Return each annotator's flags: effects that are both large and significant.

    Significance controls the false discovery rate over all annotators and flags; of copies, which are pairs, the
    family-wise error is controlled apart. One bad habit shows in several numbers, so at most one of `PRIMARY` is
    given: the most significant side, length or style bias, else `reversed`, else `random`, which means low skill that
    is compatible with none.
    """
    p_values = compute_p_values(measures)
    adjusted = np.split(false_discovery_control(np.concatenate(list(p_values.values()))), len(p_values))
    significant = {
        name: each <= DISCOVERY_RATES.get(name, FALSE_DISCOVERY_RATE)
        for name, each in zip(p_values, adjusted, strict=True)
    }
    large = find_large(measures)
    raised = {name: significant[name] & large[name] for name in large}
    strength = measures.biases.z | {"style": np.abs(measures.style.effect.z)}
    flags = []
    for number in range(len(measures.num_shared)):
        own = [name for name in raised if raised[name][number]]
        leans = sorted(set(PRIMARY[:5]).intersection(own), key=lambda name: -float(strength[name][number]))
        primary = (*leans, *(name for name in ("reversed", "random") if name in own))[:1]
        explained = EXPLAINED.get(primary[0], ()) if primary else ()
        flags.append((*primary, *(name for name in FURTHER if name in own and name not in explained)))
    return add_copied(flags, measures)


def compute_p_values(measures: Measures) -> dict[str, Floats]:
    """Return the p-values of all flags but `copied`, [annotators] each."""
    drift = measures.drift
    return {name: norm.sf(z) for name, z in measures.biases.z.items()} | {
        "style": measures.style.p_values,
        "fast": measures.fast[1],
        "too_many_ties": measures.ties[1],
        "inconsistent": measures.inconsistency[1],
        # Of a fall of the skill and a change of side, either way, the more significant one counts, times two.
        "drifting": np.minimum(1, 2 * np.minimum(norm.sf(-drift.skill.z), 2 * norm.sf(np.abs(drift.side.z)))),
        "gold": measures.gold_errors[1],
    }


def find_large(measures: Measures) -> dict[str, Raised]:
    """Return for each flag but `copied` whose effect is large."""
    biases, style, drift = measures.biases, measures.style.effect, measures.drift
    enough, least_skill = measures.num_shared >= MIN_SHARED, lower_bound(biases.skill, -biases.z["reversed"], 2)
    skill_drift, side_drift = drift.skill, drift.side
    return {
        "left": lower_bound(biases.side, biases.z["left"], 2) >= STRONG_BIAS,
        "right": lower_bound(-biases.side, biases.z["right"], 2) >= STRONG_BIAS,
        "longer": lower_bound(biases.length, biases.z["longer"], 2) >= STRONG_BIAS,
        "shorter": lower_bound(-biases.length, biases.z["shorter"], 2) >= STRONG_BIAS,
        "style": lower_bound(np.abs(style.size), np.abs(style.z), 2) >= STRONG_BIAS,
        "reversed": enough & (biases.skill <= -LOW_SKILL),
        "random": enough
        & (biases.skill <= LOW_SKILL)
        & (least_skill <= NO_SKILL)
        & (lower_bound(1 - biases.skill, biases.z["random"], 2) >= 1 - HONEST_SKILL),
        "fast": measures.fast[0] >= MIN_EXCESS_RATE,
        "too_many_ties": measures.ties[0] >= MIN_EXCESS_RATE,
        "inconsistent": measures.inconsistency[0] >= MIN_EXCESS_ERRORS,
        "drifting": enough
        & (
            (lower_bound(-skill_drift.size, -skill_drift.z, 2) >= MIN_DRIFT)
            | (lower_bound(np.abs(side_drift.size), np.abs(side_drift.z), 2) >= STRONG_BIAS)
        ),
        "gold": measures.gold_errors[0] >= MIN_EXCESS_ERRORS,
    }


def add_copied(flags: list[tuple[str, ...]], measures: Measures) -> list[tuple[str, ...]]:
    """Add `copied` to who answered later, to both of two where times do not tell.

    Two who both follow a side, a length or a style agree for that reason.
    """
    copied: set[int] = set()
    for copy in measures.copies.found:
        pair = (copy.first, copy.second)
        if not all(set(flags[number]).intersection(PRIMARY[:5]) for number in pair):
            copied.update(pair if copy.later is None else (copy.later,))
    return [(*own, *["copied"] * (number in copied)) for number, own in enumerate(flags)]


def lower_bound(effect: Floats, z: Floats, num_errors: float) -> Floats:
    """Return the effect minus `num_errors` standard errors (effect / z); effects below 0 are returned as they are."""
    errors = np.divide(effect, z, out=np.zeros_like(effect), where=z > 0)
    return effect - num_errors * errors
