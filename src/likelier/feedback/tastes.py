"""Groups of people with tastes of their own: how many, who is in which, how they differ. Taste is not error.

How many is decided by the likelihood of judgements that were left out. It is refused where these cannot tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import comb, expit

from likelier.feedback.expected import responses_recur
from likelier.feedback.taste_model import (
    CORRELATION,
    SKILL,
    Mixture,
    Panel,
    expect_left,
    fit_mixture,
    fit_single,
    leave_own_votes_out,
    measure_dissent,
    measure_variances,
    predict_left,
    update_habits,
)
from likelier.feedback.taste_report import MIN_JUDGED, MIN_PEOPLE, TasteGroup, Tastes
from likelier.feedback.text_features import describe_texts
from likelier.feedback.votes import Votes
from likelier.records import JudgedComparison, Response

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MAX_VOTES, MAX_EACH = 10_000, 100
"""Votes that are fitted: the first of each person, of those with most; who is not among them is in no group."""
MAX_GROUPS = 3
NUM_FOLDS, FEW_FOLDS, MANY_VOTES = 10, 5, 4000
"""Folds of left-out judgements, and how many are enough of many votes."""
SCORE_SD, FEATURE_SD = 1.5, 0.7
"""A priori: of a response's score, and of the weight of a feature of variance 1."""
MIN_DISSENT = 2.5
"""Of `measure_dissent`: below it people do not depart together from what all have in common, and no group is fitted."""
DISSENT_BESIDE_REVERSED = 1.0
"""The same where some people's skill is negative: it explains half of what a group says whose taste is half opposed,
and all of what people say who answer the reverse."""
CLAIM_Z = 2.0
"""Standard errors by which one group more must predict left-out judgements better."""
MIN_STABILITY = 0.6
"""Median adjusted Rand index of the groups of all votes and of those of nine tenths, below which none is claimed."""
MIN_RELIABILITY = 0.55
"""One taste is claimed only where a fifth of the people would have shown another."""
MIN_CERTAINTY, MIN_SKILL, MIN_SIZE = 0.8, 0.25, 2
"""Probability and skill from which a person belongs to a group; people whom it takes to make one."""
NUM_SHOWN = 3


@dataclass(frozen=True)
class Comparison:
    """How much better one group more predicts left-out votes."""

    z: float = 0.0
    gain: float = 0.0
    fits: list[Mixture] = field(default_factory=list)
    """With one group more, one without each fold."""


@dataclass(frozen=True)
class Finding:
    """Result of the search: the number of tastes and everybody's group, [annotators]; -1 where unclear."""

    tastes: Tastes
    group: Indices


def find_tastes(
    votes: Votes, names: Sequence[str], responses: Sequence[Response], features: Floats | None = None
) -> Finding:
    """Look for groups of people with different tastes. Deterministic.

    `responses` are those that `votes.left` and `votes.right` number. Where most recur in several comparisons each has a
    score, else a taste is a reward of features of the texts, or of `features` [responses, features] if given. Ties are
    left out. All votes name a person.
    """
    nobody = np.full(len(names), -1, np.int64)
    rows, people = choose_votes(votes, len(names))
    if len(people) < MIN_PEOPLE:
        return Finding(Tastes(None, "too few"), nobody)
    best: tuple[Tastes, Indices] | None = None
    for model in ("scores", "features") if features is None and responses_recur(votes) else ("features",):
        labels, design = make_design(votes.select(rows), responses, model, features)
        if design.shape[1] == 0:
            continue
        panel = make_panel(votes.select(rows), design, people)
        tastes, group = search(panel, [names[number] for number in people.tolist()], labels, model)
        if best is None or tastes.number not in (None, 1):
            best = tastes, group
        if best[0].number not in (None, 1):
            break
    if best is None:
        return Finding(Tastes(None, "too few"), nobody)
    nobody[people] = best[1]
    return Finding(best[0], nobody)


def list_responses(judged: Sequence[JudgedComparison], votes: Votes) -> list[Response]:
    """Return the responses as `arrange_votes`, which made all `votes` of `judged`, has numbered them."""
    responses: dict[int, Response] = {}
    for codes, side in ((votes.left, "left"), (votes.right, "right")):
        numbers, rows = np.unique(codes, return_index=True)
        responses |= {
            number: getattr(judged[row], side) for number, row in zip(numbers.tolist(), rows.tolist(), strict=True)
        }
    return [responses[number] for number in sorted(responses)]


def choose_votes(votes: Votes, num_annotators: int) -> tuple[NDArray[np.bool_], Indices]:
    """Return which votes to fit, no ties, and the numbers of the people who gave them."""
    rows = np.flatnonzero(votes.sign != 0)
    rows = rows[np.argsort(votes.annotator[rows], kind="stable")]
    counts = np.bincount(votes.annotator[rows], minlength=num_annotators)
    number = np.arange(len(rows)) - (np.cumsum(counts) - counts)[votes.annotator[rows]]
    rows, counts = rows[number < MAX_EACH], np.minimum(counts, MAX_EACH)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= MIN_JUDGED]
    people = np.sort(order[: max(MIN_PEOPLE, int((np.cumsum(counts[order]) <= MAX_VOTES).sum()))])
    chosen = np.zeros(len(votes.sign), bool)
    chosen[rows[np.isin(votes.annotator[rows], people)]] = True
    return chosen, people


def make_design(
    votes: Votes, responses: Sequence[Response], model: str, features: Floats | None
) -> tuple[list[str], csr_array]:
    """Return the columns' names and left minus right, [N, D], scaled so that coefficients have prior variance 1."""
    shown, place = np.unique(np.concatenate([votes.left, votes.right]), return_inverse=True)
    left, right = np.split(place, 2)
    if model == "scores":
        count, values = len(votes.left), np.full(len(votes.left), SCORE_SD)
        entries = np.concatenate([values, -values]), (np.tile(np.arange(count), 2), place)
        return [responses[number].text for number in shown.tolist()], csr_array(entries, shape=(count, len(shown)))
    if features is None:
        names, described = describe_texts([responses[number].text for number in shown.tolist()])
    else:
        own = features[shown]
        varies = np.flatnonzero(own.std(axis=0) > 1e-9)
        names = [f"feature {column + 1}" for column in varies.tolist()]
        described = (own[:, varies] - own[:, varies].mean(axis=0)) / own[:, varies].std(axis=0)
    return names, csr_array((described[left] - described[right]) * FEATURE_SD)


def make_panel(votes: Votes, design: csr_array, people: Indices) -> Panel:
    """Return decided votes as the mixture takes them, their people numbered from 0."""
    annotator = np.searchsorted(people, votes.annotator)
    return Panel(design, annotator, votes.sign > 0, votes.longer, votes.comparison, len(people))


def search(panel: Panel, names: Sequence[str], labels: Sequence[str], model: Any) -> tuple[Tastes, Indices]:
    """Add groups one by one as long as left-out judgements say so; returns the tastes and everybody's group."""
    generator = np.random.default_rng(0)
    num_folds = NUM_FOLDS if len(panel.left) <= MANY_VOTES else FEW_FOLDS
    folds = generator.permutation(int(panel.comparison.max()) + 1)[panel.comparison] % num_folds
    single = fit_single(panel)
    num_reversed = int((single.habits[0][:, SKILL] <= -MIN_SKILL).sum())
    least = MIN_DISSENT if num_reversed < MIN_SIZE else DISSENT_BESIDE_REVERSED
    if measure_dissent(panel, single, generator) < least:
        told = measure_reliability(panel, single) >= MIN_RELIABILITY
        told = told and (model == "scores" or measure_rest(panel, single) < CLAIM_Z)
        tastes = Tastes(1 if told else None, "alike" if told else "cannot tell", model)
        return tastes, np.full(panel.num_annotators, -1, np.int64)
    best, first = single, Comparison()
    while best.num_groups < MAX_GROUPS and (best is single or measure_dissent(panel, best, generator) >= MIN_DISSENT):
        compared = compare_numbers(panel, folds, best.num_groups)
        more = sort_groups(
            panel, fit_mixture(panel, single, best.num_groups + 1, np.random.default_rng(0), num_starts=6)
        )
        first = compared if best is single else first
        if compared.z < CLAIM_Z or not is_settled(assign_people(panel, more), compared.fits):
            break
        best = more
    evidence = {"model": model, "gain": first.gain, "z": first.z}
    if best.num_groups > 1:
        return describe_groups(panel, best, names, labels, evidence)
    return Tastes(None, "cannot tell", **evidence), np.full(panel.num_annotators, -1, np.int64)


def compare_numbers(panel: Panel, folds: Indices, count: int) -> Comparison:
    """Compare `count` groups with one more by the votes of folds that were left out.

    Folds hold whole comparisons, so that copied answers are no taste.
    """
    fewer, more = np.zeros(len(folds)), np.zeros(len(folds))
    fits: list[Mixture] = []
    for fold in range(int(folds.max()) + 1):
        left_out = folds == fold
        kept, asked = panel.select(~left_out), panel.select(left_out)
        single = fit_single(kept)
        base = single if count == 1 else fit_mixture(kept, single, count, np.random.default_rng(fold), num_starts=3)
        fits.append(fit_mixture(kept, single, count + 1, np.random.default_rng(fold), num_starts=3))
        fewer[left_out], more[left_out] = predict_left(kept, base, asked), predict_left(kept, fits[-1], asked)
    return replace(compare_predictions(fewer, more, panel.left, panel.comparison), fits=fits)


def compare_predictions(fewer: Floats, more: Floats, left: NDArray[np.bool_], comparison: Indices) -> Comparison:
    """Test if log-odds `more` add to log-odds `fewer`: logit = a fewer + w (more - fewer), H0: w = 0, H1: w > 0.

    Both are fitted without these votes. To compare their likelihoods as they are would ask for more than that there is
    a second taste: it would have to be known well, too. w is the share of it that helps (stacking, Wolpert 1992). The
    test is a score test with errors clustered by comparison.
    """
    design = np.stack([fewer, more - fewer], axis=1)
    null = fit_weights(design[:, :1], left)
    full = fit_weights(design, left)
    p = expit(design[:, :1] @ null)
    information = (design * (p * (1 - p))[:, None]).T @ design
    slope = information[0, 1] / max(information[0, 0], 1e-12)
    scores = np.bincount(comparison, (left - p) * (design[:, 1] - slope * design[:, 0]))
    spread = np.sqrt((scores**2).sum())
    z = float(scores.sum() / spread) if spread > 1e-9 else 0.0
    gain = log_likelihood(design @ full, left) - log_likelihood(design[:, :1] @ null, left)
    return Comparison(z, float(gain))


def fit_weights(design: Floats, left: NDArray[np.bool_]) -> Floats:
    """Fit a logistic regression of few columns by Newton's method, with a ridge that matters only to flat ones."""
    weights = np.zeros(design.shape[1])
    for _ in range(20):
        p = expit(design @ weights)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(len(weights))
        weights = weights + np.linalg.solve(hessian, design.T @ (left - p) - 1e-3 * weights)
    return weights


def log_likelihood(logits: Floats, left: NDArray[np.bool_]) -> float:
    """Return the log-likelihood of votes given log-odds of left."""
    return float(-np.logaddexp(0, -np.where(left, logits, -logits)).sum())


def measure_reliability(panel: Panel, single: Mixture, share: float = 0.2) -> float:
    """Return which part of its variance over the judged pairs a taste of `share` of the people would be known to.

    Where it is small a minority's taste could not have been seen, and one taste must not be claimed.
    """
    p, skill = expect_left(panel, single)
    information = share * (panel.transposed_squares @ (p * (1 - p) * skill**2))
    size = single.tastes[0] ** 2 + measure_variances(panel, single)[0]
    prior = np.full(len(information), (1 - CORRELATION) * size.mean())
    before = (panel.squares @ prior).mean()
    if before == 0:  # no pair differs in any feature
        return 0.0
    left = (panel.squares @ (1 / (information + 1 / prior))).mean()
    return float(1 - left / before)


def measure_rest(panel: Panel, single: Mixture) -> float:
    """Return by how many standard errors people agree on comparisons beyond what the features explain.

    What they agree about there may be several tastes, which features that say nothing of it cannot tell apart.
    """
    p, _ = expect_left(panel, single)
    # Of one comparison all rows are equal, or negated where the sides were swapped.
    side = np.sign(panel.design @ np.random.default_rng(0).normal(size=panel.design.shape[1]))
    errors, spread = side * (panel.left - p), side**2 * p * (1 - p)
    together = (np.bincount(panel.comparison, errors) ** 2).sum() - (errors**2).sum()
    variance = 2 * ((np.bincount(panel.comparison, spread) ** 2).sum() - (spread**2).sum())
    return float(together / np.sqrt(variance)) if variance > 0 else 0.0


def assign_people(panel: Panel, mixture: Mixture) -> Indices:
    """Return everybody's group; -1 where none is clear, or explains the answers. [annotators]"""
    group = mixture.membership.argmax(axis=1)
    clear = (mixture.membership.max(axis=1) >= MIN_CERTAINTY) & (measure_skills(panel, mixture, group) >= MIN_SKILL)
    return np.where(clear, group, -1)


def sort_groups(panel: Panel, mixture: Mixture) -> Mixture:
    """Return the mixture with its largest group first; of two with as many clear members the one likelier of all."""
    group = assign_people(panel, mixture)
    sizes = np.bincount(group[group >= 0], minlength=mixture.num_groups)
    order = np.lexsort((-mixture.membership.sum(axis=0), -sizes))
    return replace(
        mixture,
        tastes=[mixture.tastes[number] for number in order],
        habits=[mixture.habits[number] for number in order],
        membership=mixture.membership[:, order],
        shares=mixture.shares[order],
    )


def measure_skills(panel: Panel, mixture: Mixture, group: Indices) -> Floats:
    """Return everybody's slope on the taste of their group as it is without their own votes, [annotators].

    Somebody who answers at random fits a small group, since they are part of it; without them it says nothing of them.
    """
    skills = np.zeros(panel.num_annotators)
    for number, taste in enumerate(mixture.tastes):
        habits, weight = mixture.habits[number], mixture.membership[panel.annotator, number]
        others = leave_own_votes_out(panel, taste, mixture.prior_precision, habits, weight)
        for _ in range(3):
            habits = update_habits(panel, others, habits)
        skills = np.where(group == number, habits[:, SKILL], skills)
    return skills


def is_settled(group: Indices, fits: Sequence[Mixture]) -> bool:
    """Return True if groups are large enough, and mostly those of fits without some votes, over who is in one."""
    clear = group >= 0
    index = [adjusted_rand(group[clear], fit.membership.argmax(axis=1)[clear]) for fit in fits]
    sizes = np.bincount(group[clear], minlength=fits[0].num_groups)
    return bool(sizes.min() >= MIN_SIZE and np.median(index) >= MIN_STABILITY)


def adjusted_rand(one: Indices, other: Indices) -> float:
    """Return the adjusted Rand index of two partitions (Hubert and Arabie 1985): 1 equal, 0 chance."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)
    together = comb(table, 2).sum()
    rows, columns = comb(table.sum(axis=1), 2).sum(), comb(table.sum(axis=0), 2).sum()
    expected, most = rows * columns / comb(len(one), 2), (rows + columns) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def describe_groups(
    panel: Panel, mixture: Mixture, names: Sequence[str], labels: Sequence[str], evidence: Mapping[str, Any]
) -> tuple[Tastes, Indices]:
    """Return the tastes with who is in which group and how they differ, and everybody's group."""
    group = assign_people(panel, mixture)
    skills = [np.median(habits[group == number, SKILL]) for number, habits in enumerate(mixture.habits)]
    tastes = [skill * taste for skill, taste in zip(skills, mixture.tastes, strict=True)]
    variances = measure_variances(panel, mixture)
    groups = []
    for number, taste in enumerate(tastes):
        others = np.mean([tastes[other] for other in range(len(tastes)) if other != number], axis=0)
        errors = np.sqrt(variances[number] + variances[number - 1])
        strongest = np.argsort(-np.abs((taste - others) / errors), kind="stable")
        shown = [column for column in strongest.tolist() if abs(taste[column] - others[column]) >= 2 * errors[column]]
        groups.append(
            TasteGroup(
                tuple(names[person] for person in np.flatnonzero(group == number).tolist()),
                float((group == number).sum() / (group >= 0).sum()),
                tuple(shorten(labels[column]) for column in shown if taste[column] > others[column])[:NUM_SHOWN],
                tuple(shorten(labels[column]) for column in shown if taste[column] < others[column])[:NUM_SHOWN],
            )
        )
    first, second = panel.design @ tastes[0], panel.design @ tastes[1]
    found = Tastes(
        mixture.num_groups,
        "found",
        groups=tuple(groups),
        unclear=tuple(names[person] for person in np.flatnonzero(group < 0).tolist()),
        disagreement=float((np.sign(first) != np.sign(second)).mean()),
        correlation=float(np.corrcoef(first, second)[0, 1]),
        **evidence,
    )
    return found, mixture.membership.argmax(axis=1)


def shorten(text: str, limit: int = 60) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
