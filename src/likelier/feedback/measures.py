"""All that the check measures of each annotator, before anything is called large."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from likelier.feedback.audit import (
    AnnotatorBiases,
    Answers,
    estimate_biases,
    measure_excess_ties,
    measure_fast_answers,
)
from likelier.feedback.columns import list_intervals, list_known
from likelier.feedback.copying import Copies, find_copies
from likelier.feedback.cycles import Cycles, count_cycles
from likelier.feedback.drift import Drift, measure_drift
from likelier.feedback.expected import Expected
from likelier.feedback.lean import StyleLean, measure_style
from likelier.feedback.shares import Share, compare_shares
from likelier.feedback.style import FEATURES
from likelier.feedback.votes import Votes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Tested = tuple[Floats, Floats]
"""Excess over the others and p-value, [annotators] each."""


@dataclass(frozen=True)
class Measures:
    """All measures of the annotators, on which their flags and audits rest."""

    answers: Answers
    biases: AnnotatorBiases
    num_shared: Indices
    """[annotators]: answers, no ties, to comparisons of which others say something"""
    ties: Tested
    fast: Tested
    repeats: Share
    """Repeated answers that differ from the first one."""
    inconsistency: Tested
    gold: Share
    """Answers to gold items that differ from the owner's."""
    gold_errors: Tested
    style: StyleLean
    drift: Drift
    copies: Copies
    cycles: Cycles


def measure_annotators(votes: Votes, count: int, expected: Expected, repeats: Share) -> Measures:
    """Measure all annotators by their votes; `repeats` counts their repeated answers, which are no votes."""
    answers = Answers(votes.annotator, votes.sign, expected.left_better, votes.longer, votes.seconds)
    biases = estimate_biases(answers)
    fit = biases.fit
    style = np.zeros((len(votes.sign), len(FEATURES)), np.int8) if votes.style is None else votes.style
    gold = count_gold_errors(votes, count)
    return Measures(
        answers=answers,
        biases=biases,
        num_shared=np.bincount(votes.annotator[(expected.left_better != 0) & (votes.sign != 0)], minlength=count),
        ties=measure_excess_ties(answers),
        fast=measure_fast_answers(answers),
        repeats=repeats,
        inconsistency=compare_shares(repeats),
        gold=gold,
        gold_errors=compare_shares(gold),
        style=measure_style(fit, style[fit.rows]),
        drift=measure_drift(fit, answers),
        copies=find_copies(votes, expected, count),
        cycles=count_own_cycles(votes, biases, count),
    )


def count_gold_errors(votes: Votes, count: int) -> Share:
    """Count each annotator's answers to gold items, and those that differ from the owner's."""
    if votes.gold is None:
        nothing = np.zeros(count, np.int64)
        return Share(nothing, nothing, nothing)
    asked = ~np.isnan(votes.gold)
    wrong = asked & (votes.sign != votes.gold)
    events, trials = (np.bincount(votes.annotator[rows], minlength=count) for rows in (wrong, asked))
    return Share(events, trials, trials)


def count_own_cycles(votes: Votes, biases: AnnotatorBiases, count: int) -> Cycles:
    """Count cyclic triads, with probabilities by each annotator's own regression on the others' answers."""
    rows = biases.fit.rows
    left, right, first = votes.left[rows], votes.right[rows], votes.left_is_first[rows]
    return count_cycles(
        votes.annotator[rows],
        np.minimum(left, right),
        np.maximum(left, right),
        votes.labels[rows] > 0,
        expit(biases.fit.logits * first),
        count,
    )


def describe_changes(measures: Measures) -> dict[str, Sequence[Any]]:
    """Return the columns of lean to style and of drift, with intervals of Student's kind."""
    style, drift = measures.style, measures.drift
    leans = np.isfinite(style.effect.error)
    half = 1.96 * np.where(leans, style.effect.error, np.nan)
    changes = np.isfinite(drift.skill.error)
    change_half = 1.96 * np.where(changes, drift.skill.error, np.nan)
    speed = drift.speed
    return {
        "style": [
            FEATURES[feature] if known else None
            for feature, known in zip(style.feature.tolist(), leans.tolist(), strict=True)
        ],
        "style_lean": list_known(style.effect.size, leans),
        "style_interval": list_intervals(np.stack([style.effect.size - half, style.effect.size + half], axis=1)),
        "skill_change": list_known(drift.skill.size, changes),
        "skill_change_interval": list_intervals(
            np.stack([drift.skill.size - change_half, drift.skill.size + change_half], axis=1)
        ),
        "speed_change": list_known(speed),
        "speed_change_interval": list_intervals(drift.speed_interval),
    }
