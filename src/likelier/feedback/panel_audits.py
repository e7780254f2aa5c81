"""Audits of a panel: for each influence on its answers a figure, its interval, and a sentence of plain words."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.crossing import Crossing, cross_change, cross_share
from likelier.feedback.drift import place_in_sequence
from likelier.feedback.expected import Expected
from likelier.feedback.inclusion import count_effective
from likelier.feedback.measures import Measures
from likelier.feedback.style import FEATURES
from likelier.feedback.votes import Votes
from likelier.intervals import (
    Interval,
    clopper_pearson,
    jackknife_deviations,
    share_interval,
)

Floats = NDArray[np.float64]
MIN_DIFFERING = 20
"""Answers to comparisons whose sides differ in a feature of style that it takes to report on it."""


@dataclass(frozen=True)
class Audit:
    """One influence on the answers of the whole panel."""

    name: str
    """side, length, longer_is_better, style, speed, consistency, cycles, drift, copied, ties, gold, asked"""
    value: float
    """A share, or a difference of shares, as the sentence says."""
    interval: tuple[float, float] | None
    """Its 95% interval, over people unless the sentence is of comparisons; None for a single one."""
    n: int
    """Answers, comparisons, triads or pairs of people that it is of."""
    sentence: str


def audit_panel(votes: Votes, expected: Expected, measures: Measures) -> tuple[Audit, ...]:
    """Return the audits of what the votes tell of; what they do not tell of has none."""
    crossing = Crossing(votes.annotator, votes.comparison, votes.left, votes.right)
    audits = [
        audit_side(votes, crossing),
        audit_length(votes, crossing),
        audit_longer_is_better(votes, expected),
        *audit_styles(votes, crossing),
        audit_speed(votes, crossing),
        audit_consistency(measures),
        audit_cycles(measures),
        audit_drift(votes, expected, crossing),
        audit_copies(measures),
        audit_ties(votes, crossing),
        audit_gold(votes, crossing),
        audit_asked(votes),
    ]
    return tuple(audit for audit in audits if audit)


def percent(share: float) -> str:
    """Return a share as a percentage of few digits."""
    return f"{100 * share:.0f}%" if 0.005 <= share < 0.995 or share in (0, 1) else f"{100 * share:.1f}%"


def figure(share: float, interval: Interval | None) -> str:
    """Return a share with its interval, where there is one: `63% (57% to 69%)`."""
    return percent(share) + (f" ({percent(interval[0])} to {percent(interval[1])})" if interval else "")


def make_audit(name: str, share: float, interval: Interval | None, n: int, sentence: str) -> Audit:
    """Return the record of an audit."""
    return Audit(name, share, (interval[0], interval[1]) if interval else None, int(n), sentence)


def lies_around(interval: Interval | None, value: float) -> bool:
    """Return True unless an interval excludes a value."""
    return interval is None or interval[0] <= value <= interval[1]


def audit_side(votes: Votes, crossing: Crossing) -> Audit | None:
    """Audit how often the left side is chosen."""
    rows = (votes.sign != 0) & votes.has_sides
    if not rows.any():
        return None
    share, interval = cross_share(votes.sign > 0, rows, crossing, votes.weight)
    lean = "to neither side" if lies_around(interval, 0.5) else "to the left" if share > 0.5 else "to the right"
    sentence = f"The left side was chosen in {figure(share, interval)} of answers; taken together people lean {lean}."
    return make_audit("side", share, interval, rows.sum(), sentence)


def audit_length(votes: Votes, crossing: Crossing) -> Audit | None:
    """Audit how often the longer response is chosen."""
    rows = (votes.sign != 0) & (votes.longer != 0)
    if not rows.any():
        return None
    share, interval = cross_share(votes.sign * votes.longer > 0, rows, crossing, votes.weight)
    return make_audit(
        "length",
        share,
        interval,
        rows.sum(),
        f"The longer response was chosen in {figure(share, interval)} of answers.",
    )


def audit_longer_is_better(votes: Votes, expected: Expected) -> Audit | None:
    """Audit how often picking the longer response agrees with what people prefer, beside how often a person does."""
    total = np.bincount(votes.comparison, votes.labels)
    first = np.unique(votes.comparison, return_index=True)[1]
    preferred, longer = np.sign(total[votes.comparison[first]]), (votes.longer * votes.left_is_first)[first]
    rows = (preferred != 0) & (longer != 0)
    known = (votes.sign != 0) & (expected.left_better != 0)
    if not rows.any() or not known.any():
        return None
    number = np.arange(len(first))
    once = Crossing(number, number, votes.left[first], votes.right[first])  # a row a comparison, by nobody in common
    share, interval = cross_share(preferred == longer, rows, once)
    n = int(rows.sum())
    person = float((votes.sign * expected.left_better > 0)[known].mean())
    sentence = (
        f"Always picking the longer response would agree with what people prefer in {figure(share, interval)} of "
        f"comparisons; a person agrees with the others in {percent(person)}."
    )
    return make_audit("longer_is_better", share, interval, n, sentence)


def audit_styles(votes: Votes, crossing: Crossing) -> list[Audit]:
    """Audit how often the response with more of each feature of style is chosen."""
    audits = []
    for place, feature in enumerate(FEATURES if votes.style is not None else ()):
        side = votes.style[:, place]  # type: ignore[index]
        rows = (votes.sign != 0) & (side != 0)
        if rows.sum() < MIN_DIFFERING:
            continue
        share, interval = cross_share(votes.sign * side > 0, rows, crossing, votes.weight)
        sentence = f"The response with more {feature} was chosen in {figure(share, interval)} of answers."
        audits.append(make_audit("style", share, interval, rows.sum(), sentence))
    return audits


def audit_speed(votes: Votes, crossing: Crossing) -> Audit | None:
    """Audit how many answers come too fast to have been read."""
    timed = ~np.isnan(votes.seconds)
    if not timed.any():
        return None
    median = float(np.median(votes.seconds[timed]))
    share, interval = cross_share(votes.seconds < median / 4, timed, crossing)
    sentence = (
        f"An answer took {median:.0f} seconds in the median; "
        f"{figure(share, interval)} of answers came in less than a quarter of that."
    )
    return make_audit("speed", share, interval, timed.sum(), sentence)


def audit_consistency(measures: Measures) -> Audit | None:
    """Audit how often people give the same answer again, sides swapped or not."""
    repeats = measures.repeats
    n = int(repeats.trials.sum())
    if not n:
        return None
    same = repeats.complement()
    share, interval = float(same.events.sum()) / n, same.panel_interval()
    sentence = f"Asked the same again, people gave their first answer in {figure(share, interval)} of {n} repeats."
    return make_audit("consistency", share, interval, n, sentence)


def audit_cycles(measures: Measures) -> Audit | None:
    """Audit how many triads of responses one person prefers in a circle, beside what chance makes."""
    triads, cyclic, expected = measures.cycles
    n = int(triads.sum())
    if not n:
        return None
    share, chance, known = float(cyclic.sum()) / n, float(expected.sum()) / n, triads > 0
    sums, sizes = cyclic[known].astype(float), triads[known].astype(float)
    interval = None
    if len(sizes) > 1:
        interval = share_interval(share, jackknife_deviations(sums, sizes), sizes, n, n)
    verdict = (
        "no more than chance makes" if interval is None or interval[0] <= chance else "more than one scale can explain"
    )
    sentence = (
        f"Of {n} triads of responses that one person compared, {figure(share, interval)} go round in a circle, "
        f"beside {percent(chance)} by chance alone: {verdict}."
    )
    return make_audit("cycles", share, interval, n, sentence)


def audit_drift(votes: Votes, expected: Expected, crossing: Crossing) -> Audit | None:
    """Audit how much less people follow the others in the last third of their answers than in the first."""
    known = (votes.sign != 0) & (expected.left_better != 0)
    place, follows = place_in_sequence(votes.annotator), votes.sign * expected.left_better > 0
    count = int(votes.annotator.max(initial=0)) + 1
    early, late = known & (place < -1 / 6), known & (place > 1 / 6)
    n_early, n_late = (np.bincount(votes.annotator[rows], minlength=count) for rows in (early, late))
    people = (n_early > 0) & (n_late > 0)
    if not people.any():
        return None
    rates = [
        np.bincount(votes.annotator[rows], follows[rows], count)[people] / n[people]
        for rows, n in ((early, n_early), (late, n_late))
    ]
    # A person weighs as much as the shorter third says.
    weights = np.minimum(n_early, n_late)[people].astype(float)
    before, after = (float((weights * rate).sum() / weights.sum()) for rate in rates)
    change = after - before
    shares = np.zeros(count)
    shares[people] = weights / weights.sum()
    own_late, own_early = ((shares / np.maximum(n, 1))[votes.annotator] for n in (n_late, n_early))
    influence = late * own_late * (follows - after) - early * own_early * (follows - before)
    interval = cross_change(change, influence, weights * (rates[1] - rates[0]), weights, crossing)
    bounds = f" ({100 * interval[0]:+.0f} to {100 * interval[1]:+.0f})" if interval else ""
    sentence = (
        f"People follow the others in {percent(before)} of the first third of their answers and in {percent(after)} of "
        f"the last: a change by {100 * change:+.0f}{bounds} points."
    )
    return make_audit("drift", change, interval, int((n_early + n_late)[people].sum()), sentence)


def audit_copies(measures: Measures) -> Audit | None:
    """Audit how many pairs of people agree far more than their skills explain."""
    copies = measures.copies
    if not copies.num_pairs:
        return None
    share = len(copies.found) / copies.num_pairs
    # Pairs share people: as many trials as it takes pairs to join all people.
    interval = clopper_pearson(share, copies.num_people - 1) if copies.num_people > 2 else None
    sentence = (
        f"Of {copies.num_pairs} pairs of people who judged enough of the same comparisons, {figure(share, interval)} "
        "agree far more than their skills explain, as if one copied the other."
    )
    return make_audit("copied", share, interval, copies.num_pairs, sentence)


def audit_ties(votes: Votes, crossing: Crossing) -> Audit | None:
    """Audit how many answers are ties."""
    if not len(votes.sign):
        return None
    share, interval = cross_share(votes.sign == 0, np.ones(len(votes.sign), bool), crossing, votes.weight)
    return make_audit("ties", share, interval, len(votes.sign), f"{figure(share, interval)} of answers are ties.")


def audit_gold(votes: Votes, crossing: Crossing) -> Audit | None:
    """Audit how often people find the owner's answer to gold items."""
    asked = np.zeros(len(votes.sign), bool) if votes.gold is None else ~np.isnan(votes.gold)
    n = int(asked.sum())
    if not n:
        return None
    share, interval = cross_share(votes.sign == votes.gold, asked, crossing)
    sentence = f"People gave the owner's answer to {figure(share, interval)} of {n} questions whose answer is known."
    return make_audit("gold", share, interval, n, sentence)


def audit_asked(votes: Votes) -> Audit | None:
    """Say that an acquisition strategy chose comparisons, and what the weights that make up for it cost."""
    if votes.weight is None or votes.by_chance is None:
        return None
    chosen, worth = float((~votes.by_chance).mean()), round(count_effective(votes.weight))
    sentence = (
        f"A strategy chose what {percent(chosen)} of answers are about; agreement and shares of answers have weights "
        f"that make up for it, with which they say as much as {worth} asked at random."
    )
    return make_audit("asked", chosen, None, len(votes.sign), sentence)
