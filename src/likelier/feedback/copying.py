"""Copied answers: pairs of people who agree far more than what they have in common with all others explains."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, triu
from scipy.stats import binom

from likelier.feedback.agreement import MAX_COMPARED
from likelier.feedback.expected import Expected
from likelier.feedback.votes import Votes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
MIN_SHARED = 20
"""Comparisons that two people answered, both without a tie, for their agreement to be tested."""
MIN_TIMED = 10
"""Equal answers with different times that it takes to say who was later."""
MIN_EVIDENCE = 3.0
"""What others say of somebody's comparisons, as so many on which the truth is certain, for a skill to be known."""
MIN_AGREEMENT, MAX_SUSPECTS = 0.8, 1000
"""Of pairs that are suspected, which are looked at one by one: those that agree most of these many."""
NUM_TYPICAL = 40
"""Pairs from which the typical excess is taken."""
TYPICAL_EXCESS = 0.2
"""Excess of two honest people where fewer than three pairs tell: they agree more on easy pairs than on hard ones."""
FAMILY_WISE_ERROR = 0.01
MIN_EXCESS = 0.8
"""Share of the agreement that is left to explain from which two people count as copied.

Two people of a taste that nobody else has, who are sure of it (90% of their answers follow it), come to about 0.6."""
SKILL_SD = 0.15
"""Of the normal prior of skills, on the scale of 2 P(right) - 1, around the panel's median."""
LATER_SHARE = 0.9
"""Share of equal answers that one of two gave after the other, from which the later one is who copied."""


class Copy(NamedTuple):
    """Two people, by number, one of whom copied the other, or both a third."""

    first: int
    second: int
    n: int
    """Comparisons that both answered without a tie."""
    agreement: float
    expected: float
    """Agreement of two independent people of their skills."""
    later: int | None
    """Who answered after the other; None where times are unknown or mixed."""


class Copies(NamedTuple):
    """The copies among all pairs of people that share enough, and how many of these there are."""

    found: list[Copy]
    num_pairs: int
    num_people: int


class Pair(NamedTuple):
    """Answers of two people to the comparisons that both answered: places among the votes, [n] each."""

    ones: Indices
    twos: Indices


class Expectation(NamedTuple):
    """Agreement of two people if they answer independently."""

    agreement: float
    error: float
    """Standard error."""
    is_skilled: bool
    """Both are at least half as skilled as the median."""


class Skills(NamedTuple):
    """Sums over each annotator's answers s (1 or -1) and what the others say q of them: the regression of s on q."""

    answers: Floats
    """[N]: 1 where the first response by id was preferred, else -1"""
    others: Floats
    """[N]: P(first is better) - P(second is better) by the others"""
    sums: Floats
    """[annotators, 4]: sums of s q, q^2, s q^3, q^4"""
    total: Floats | None
    """[comparisons]: log-odds of the first response by all votes; None where scores say it."""
    weights: Floats
    """[annotators]: log-odds of their votes; nobody's is above a typical one's."""
    median: float
    """Of the annotators' slopes."""


def find_copies(votes: Votes, expected: Expected, num_annotators: int) -> Copies:
    """Return the pairs of people who agree more than independent answers of their skills explain.

    Given the truth of a comparison, two people who are right with probabilities a and b agree with probability E0 =
    (1 + (2a - 1) (2b - 1)) / 2, whatever the truth. 2a - 1 is the slope of a's answers on what the others say, without
    a and b. Honest people exceed E0, since some comparisons are easier: by (agreement - E0) / (1 - E0), of which the
    median over pairs is added to E0, and a standard error of E0 on top. The test is binomial, with Holm's correction
    over all pairs; it also takes `MIN_EXCESS`, since a shared taste is no copying.
    """
    rows = np.flatnonzero(votes.sign != 0)
    counts = np.bincount(votes.annotator[rows], minlength=num_annotators)
    often = np.argsort(-counts, kind="stable")[:MAX_COMPARED]
    often = often[counts[often] >= MIN_SHARED]
    number = np.full(num_annotators, -1)
    number[often] = np.arange(len(often))
    rows = rows[number[votes.annotator[rows]] >= 0]
    rows = rows[np.lexsort((votes.comparison[rows], number[votes.annotator[rows]]))]
    bounds = np.concatenate([[0], np.cumsum(counts[often])])
    one, two, shared, agreed = count_shared(votes, rows, bounds)
    if not len(one):
        return Copies([], 0, len(often))
    skills = measure_skills(votes, expected, num_annotators)
    looked = []
    for place in choose_pairs(shared, agreed).tolist():
        pair = share_answers(votes, rows, bounds, int(one[place]), int(two[place]))
        if independent := expect_agreement(votes, skills, pair):
            looked.append((place, pair, independent))
    some = set(spread_pairs(len(one)).tolist())
    excess = [
        (agreed[place] / shared[place] - e0) / (1 - e0)
        for place, _, (e0, _, is_skilled) in looked
        if is_skilled and place in some
    ]
    typical = max(float(np.median(excess)), 0.0) if len(excess) >= 3 else TYPICAL_EXCESS
    suspects = []
    for place, pair, (e0, error, _) in looked:
        n, k, chance = int(shared[place]), int(agreed[place]), e0 + typical * (1 - e0)
        if k / n - chance >= MIN_EXCESS * (1 - chance):
            suspects.append((float(binom.sf(k - 1, n, min(chance + error, 0.999))), place, pair, chance))
    found = []
    for rank, (p, place, pair, chance) in enumerate(sorted(suspects, key=lambda suspect: suspect[:2])):
        if p * (len(one) - rank) > FAMILY_WISE_ERROR:
            break
        n, share = int(shared[place]), float(agreed[place] / shared[place])
        first, second = int(often[one[place]]), int(often[two[place]])
        later = find_later(votes, pair, (first, second))
        found.append(Copy(min(first, second), max(first, second), n, share, chance, later))
    return Copies(found, len(one), len(often))


def measure_skills(votes: Votes, expected: Expected, num_annotators: int) -> Skills:
    """Return what the skills of all people are computed from."""
    answers, weights = votes.labels, np.zeros(num_annotators, np.float64)
    total: Floats | None = None
    if expected.model == "skilled_bradley_terry":
        others = np.tanh(expected.left_better * votes.left_is_first / 2)
    else:
        # Nobody weighs more than the median: three who agree on everything would weigh most, and vouch for each other.
        most = float(np.log(1 / np.clip(np.median(expected.error_rates), 0.05, 0.4) - 1))
        weights = np.asarray(np.clip(np.log(1 / expected.error_rates - 1), -most, most), float)
        cast = answers * weights[votes.annotator]
        total = np.bincount(votes.comparison, cast).astype(float)
        others = np.tanh((total[votes.comparison] - cast) / 2)
    terms = (answers * others, np.where(answers != 0, others**2, 0), answers * others**3, (answers != 0) * others**4)
    sums = np.stack([np.bincount(votes.annotator, term, num_annotators) for term in terms], axis=1).astype(float)
    known = sums[:, 1] >= MIN_EVIDENCE
    median = float(np.median(sums[known, 0] / sums[known, 1])) if known.any() else 0.0
    return Skills(answers, others, sums, total, weights, median)


def expect_agreement(votes: Votes, skills: Skills, pair: Pair) -> Expectation | None:
    """Return the agreement of independent answers; None where the others say too little of either person."""
    slopes, variances = [], []
    for own, other in (pair, pair[::-1]):
        sums = skills.sums[votes.annotator[own[0]]]
        if skills.total is not None:
            s, r, q = skills.answers[own], skills.answers[other], skills.others[own]
            weights = (skills.weights[votes.annotator[each[0]]] for each in (own, other))
            new = np.tanh((skills.total[votes.comparison[own]] - s * next(weights) - r * next(weights)) / 2)
            changes = (s * (new - q), new**2 - q**2, s * (new**3 - q**3), new**4 - q**4)
            sums = sums + np.array([float(change.sum()) for change in changes])
        if sums[1] < MIN_EVIDENCE:
            return None
        slope = sums[0] / sums[1]
        variance = max(sums[1] - 2 * slope * sums[2] + slope**2 * sums[3], 0.0) / sums[1] ** 2 + 1e-6
        shrunk = 1 / (1 / variance + 1 / SKILL_SD**2)
        slopes.append(float(np.clip(shrunk * (slope / variance + skills.median / SKILL_SD**2), -1, 1)))
        variances.append(shrunk)
    error = np.sqrt(slopes[0] ** 2 * variances[1] + slopes[1] ** 2 * variances[0]) / 2
    return Expectation(min((1 + slopes[0] * slopes[1]) / 2, 0.99), float(error), min(slopes) >= skills.median / 2)


def count_shared(votes: Votes, rows: Indices, bounds: Indices) -> tuple[Indices, Indices, Indices, Indices]:
    """Return the pairs of people that share enough, by place: first, second, comparisons shared, equal answers."""
    shape = (len(bounds) - 1, int(votes.comparison.max(initial=0)) + 1)
    columns = votes.comparison[rows]
    given = csr_array((np.ones(len(rows), np.float32), columns, bounds), shape=shape)
    first = csr_array(((votes.labels[rows] > 0).astype(np.float32), columns, bounds), shape=shape)
    shared = triu(given @ given.T, 1).tocoo()
    enough = shared.data >= MIN_SHARED
    one, two = (np.asarray(each[enough], np.int64) for each in shared.coords)
    n = shared.data[enough].astype(np.int64)
    if not len(one):
        return one, two, n, n
    # Equal answers: both prefer the first response, or neither does.
    cross = (first @ given.T).tocsr()
    both = np.asarray((first @ first.T).tocsr()[one, two]).ravel()
    either = np.asarray(cross[one, two]).ravel() + np.asarray(cross[two, one]).ravel()
    return one, two, n, np.rint(n - either + 2 * both).astype(np.int64)


def choose_pairs(shared: Indices, agreed: Indices) -> Indices:
    """Return places of the pairs to look at: those that agree in most of their comparisons, and some of all."""
    share = agreed / shared
    suspects = np.flatnonzero(share >= MIN_AGREEMENT)
    if len(suspects) > MAX_SUSPECTS:
        suspects = suspects[np.argsort(-(share - 0.5)[suspects] * np.sqrt(shared[suspects]), kind="stable")]
    return np.union1d(spread_pairs(len(shared)), suspects[:MAX_SUSPECTS])


def spread_pairs(num_pairs: int) -> Indices:
    """Return places of the pairs that tell what is typical."""
    return np.linspace(0, num_pairs - 1, min(NUM_TYPICAL, num_pairs)).astype(np.int64)


def share_answers(votes: Votes, rows: Indices, bounds: Indices, one: int, two: int) -> Pair:
    """Return the answers of two people, by place, to the comparisons that both answered."""
    own, other = rows[bounds[one] : bounds[one + 1]], rows[bounds[two] : bounds[two + 1]]
    place = np.minimum(np.searchsorted(votes.comparison[other], votes.comparison[own]), len(other) - 1)
    same = votes.comparison[other[place]] == votes.comparison[own]
    return Pair(own[same], other[place[same]])


def find_later(votes: Votes, pair: Pair, people: tuple[int, int]) -> int | None:
    """Return who of two gave nearly all of the equal answers after the other; None if times do not tell."""
    if votes.created_at is None:
        return None
    same = votes.labels[pair.ones] == votes.labels[pair.twos]
    first, second = (
        np.array([parse_time(votes.created_at[place]) for place in places[same]]) for places in (pair.ones, pair.twos)
    )
    known = ~np.isnan(first - second) & (first != second)
    if known.sum() < MIN_TIMED:
        return None
    share = float((second > first)[known].mean())
    return people[1] if share >= LATER_SHARE else people[0] if share <= 1 - LATER_SHARE else None


def parse_time(text: str | None) -> float:
    """Return seconds since 1970 of a stored time, UTC without a zone; NaN if it is unknown or is none."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return float("nan")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
