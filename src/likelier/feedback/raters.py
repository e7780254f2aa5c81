"""Check of people who rate: each person's ratings beside the scores that the others' ratings give.

Given the score of a response its ratings are independent, so no pair of them counts twice. Each kind and scale has a
model of its own (`ordinal`); a person's evidence on all of them is added up.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import false_discovery_control, norm

from likelier.feedback.flags import DISCOVERY_RATES, FALSE_DISCOVERY_RATE, HONEST_SKILL, LOW_SKILL, MIN_SHARED, NO_SKILL
from likelier.feedback.ordinal import SCORE_SD, Guessing, RatingScores, fit_ratings
from likelier.noise.careless import Posterior, estimate_shares
from likelier.records import RatedResponse

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MAX_CATEGORIES = 11
"""Different ratings of a scale that are kept apart; a finer one is cut into so many parts with equally many ratings."""
WARM_UP, ROUNDS, TOLERANCE = 1, 15, 0.005
"""Times that scores and careless shares are estimated in turn, at most, the first of them without shares, which a wrong
spread of the scores would make too large; and the change of a share that is none."""
SPREADS = (0.3, 4.0)
"""Standard deviations of the scores that are believed."""
MAX_SHARE = 0.98
HABIT_PRIOR = 2.0
"""Ratings by the panel that are added to a person's own, to say which they give when they do not look."""


class RaterCheck(NamedTuple):
    """Results for one person's ratings."""

    ratings: int
    skill: float | None
    """Slope on the others' scores relative to a typical person: 1 typical, 0 random, negative reversed; None: nothing
    to compare with."""
    careless: float | None
    """Estimated share of ratings that ignore the response; None like `skill`."""
    careless_interval: tuple[float, float] | None
    """95%, at multiples of 0.1."""
    flags: tuple[str, ...]
    """`random` or `reversed`, or none."""


class Scale(NamedTuple):
    """The ratings of one kind and scale as numbers, [N] each."""

    response_ids: list[str]
    response: Indices
    names: list[str]
    """Of the annotators; without a name each rating is one of somebody else's."""
    annotator: Indices
    category: Indices
    categories: int


class Prediction(NamedTuple):
    """Ratings by the others' ratings of the same response, [N] each; rows without others are left out."""

    annotator: Indices
    score: Floats
    rating: Floats
    by_reading: Floats
    by_guessing: Floats


def split_scales(rated: Iterable[RatedResponse]) -> list[tuple[str, list[RatedResponse]]]:
    """Return the ratings of each kind and scale, with the kind; in one order."""
    scales = defaultdict(list)
    for entry in rated:
        scales[entry.rating.kind, json.dumps(entry.rating.extra.get("scale"))].append(entry)
    return [(kind, entries) for (kind, _), entries in sorted(scales.items(), key=lambda scale: scale[0])]


def categorise(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Indices, int]:
    """Return the category of each rating, from 0 on, and their number."""
    distinct = np.unique(values)
    if len(distinct) > MAX_CATEGORIES:
        distinct = np.unique(np.quantile(values, np.linspace(0, 1, MAX_CATEGORIES, endpoint=False)))
    return np.searchsorted(distinct, values, side="right") - 1, len(distinct)


def arrange_scale(entries: Sequence[RatedResponse]) -> Scale | None:
    """Return ratings of one kind and scale as numbers; None: all are the same."""
    category, categories = categorise(np.array([entry.rating.value for entry in entries]))
    if categories < 2:
        return None
    ids = sorted({entry.response.id for entry in entries})
    number = {each: place for place, each in enumerate(ids)}
    response = np.array([number[entry.response.id] for entry in entries])
    # Raters without a name may be many: each of their ratings has the thresholds of all.
    own = [entry.rating.annotator or f"\0{place}" for place, entry in enumerate(entries)]
    names, annotator = np.unique(own, return_inverse=True)
    return Scale(ids, response, names.tolist(), annotator.astype(np.int64), category, categories)


def fit_scale(scale: Scale, careless: dict[str, float], score_sd: float = SCORE_SD) -> RatingScores:
    """Fit the scores of a scale's responses; `careless` has the shares of people, 0 for whom it lacks."""
    ratings = scale.response, scale.annotator, scale.category, scale.categories
    share = np.array([min(careless.get(name, 0.0), MAX_SHARE) for name in scale.names])
    guessing = Guessing(share, measure_habits(scale)) if share.any() else None
    return fit_ratings(*ratings, guessing, score_sd)


def measure_habits(scale: Scale) -> Floats:
    """Return how often each annotator gives each category, [annotators, categories], shrunk to the panel's."""
    counts = count_categories(scale)
    panel = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * scale.categories)
    habits: Floats = (counts + HABIT_PRIOR * panel) / (counts.sum(axis=1, keepdims=True) + HABIT_PRIOR)
    return habits


def count_categories(scale: Scale) -> Floats:
    """Return how often each annotator gave each category, [annotators, categories]."""
    cells = np.bincount(
        scale.annotator * scale.categories + scale.category, minlength=len(scale.names) * scale.categories
    )
    return cells.reshape(len(scale.names), scale.categories).astype(float)


def predict_ratings(scale: Scale, fitted: RatingScores, score_sd: float) -> Prediction:
    """Return what the others say of each rating by somebody with a name.

    A score without somebody's ratings of the response is one Newton step from the score with them.
    """
    scores, variances = fitted.scores
    own = np.unique(scale.response * len(scale.names) + scale.annotator, return_inverse=True)[1]
    own_pull, own_curvature = (np.bincount(own, each)[own] for each in (fitted.pull, fitted.curvature))
    others = np.maximum(1 / variances[scale.response] - own_curvature, 1 / score_sd**2)
    mean, doubt = scores[scale.response] - own_pull / others, 1 / others
    bounded = np.pad(fitted.thresholds, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
    ends = bounded[scale.annotator, scale.category], bounded[scale.annotator, scale.category + 1]
    # Who does not look gives the categories as often as who reads: with the same thresholds, of no response in
    # particular. By each person's own counts the two would differ in what is fitted to the person.
    by_reading, by_guessing = predict_category(mean, doubt, *ends), predict_category(0.0, score_sd**2, *ends)
    num_ratings = np.bincount(scale.response)[scale.response] - np.bincount(own)[own]
    named = np.array([not name.startswith("\0") for name in scale.names])[scale.annotator]
    rows = named & (num_ratings > 0)
    centred = standardise(scale.category[rows].astype(float), scale.annotator[rows], len(scale.names))
    return Prediction(scale.annotator[rows], mean[rows], centred, by_reading[rows], by_guessing[rows])


def predict_category(mean: Floats | float, variance: Floats | float, lower: Floats, upper: Floats) -> Floats:
    """Return the probability of a category between two thresholds: the mean over a normal score (MacKay 1992)."""
    shrink = np.sqrt(1 + np.pi * variance / 8)
    probability: Floats = expit((mean - lower) / shrink) - expit((mean - upper) / shrink)
    return probability


def standardise(values: Floats, group: Indices, num_groups: int) -> Floats:
    """Return numbers less the mean of their group, over its standard deviation; 0 where all of a group are the same."""
    count = np.maximum(np.bincount(group, minlength=num_groups), 1)
    off = values - (np.bincount(group, values, num_groups) / count)[group]
    spread = np.sqrt(np.bincount(group, off**2, num_groups) / count)[group]
    return np.divide(off, spread, out=np.zeros_like(off), where=spread > 1e-9)


def check_raters(rated: Sequence[RatedResponse]) -> dict[str, RaterCheck]:
    """Check everybody who rates, by name; ratings without a name are compared with, and belong to nobody."""
    counts: dict[str, int] = defaultdict(int)
    for entry in rated:
        if entry.rating.annotator:
            counts[entry.rating.annotator] += 1
    names = sorted(counts)
    scales = [scale for _, entries in split_scales(rated) if (scale := arrange_scale(entries))]
    told = predict_all(scales, names)
    nothing = [RaterCheck(counts[name], None, None, None, ()) for name in names]
    if told is None:
        return dict(zip(names, nothing, strict=True))
    predicted, shares = told
    skill, error, num_shared = measure_skills(predicted, len(names))
    flags = flag_raters(skill, error, num_shared)
    found = {}
    for number, name in enumerate(names):
        known = num_shared[number] > 0
        own_skill = round(float(skill[number]), 4) if known and np.isfinite(skill[number]) else None
        own_share = round(float(shares.mean[number]), 3) if known else None
        interval = (float(shares.low[number]), float(shares.high[number])) if known else None
        found[name] = RaterCheck(counts[name], own_skill, own_share, interval, flags[number])
    return found


def predict_all(scales: Sequence[Scale], names: Sequence[str]) -> tuple[Prediction, Posterior] | None:
    """Return what the others say of all ratings, annotators numbered by `names`, and the careless share of each person.

    Scores and shares are estimated in turn. None: no response is rated by two.
    """
    number = {name: place for place, name in enumerate(names)}
    spreads, shares = [SCORE_SD] * len(scales), np.zeros(len(names))
    for number_of_round in range(ROUNDS):
        parts = []
        for place, scale in enumerate(scales):
            fitted = fit_scale(scale, dict(zip(names, shares.tolist(), strict=True)), spreads[place])
            part = predict_ratings(scale, fitted, spreads[place])
            people = np.array([number.get(name, -1) for name in scale.names], np.int64)
            parts.append(part._replace(annotator=people[part.annotator]))
            mean, variance = fitted.scores
            spreads[place] = float(np.clip(np.sqrt((mean**2 + variance).mean()), *SPREADS))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else []
        if not columns or not len(columns[0]):
            return None
        predicted = Prediction(*columns)
        if number_of_round < WARM_UP:
            continue
        before = shares
        posterior = estimate_shares(predicted.annotator, predicted.by_reading, predicted.by_guessing, len(names))
        shares = np.where(np.bincount(predicted.annotator, minlength=len(names)) > 0, posterior.mean, 0.0)
        if np.abs(shares - before).max() < TOLERANCE:
            break
    return predicted, posterior


def measure_skills(predicted: Prediction, count: int) -> tuple[Floats, Floats, Indices]:
    """Return each person's skill, its standard error, and the ratings it rests on, [people] each; NaN without a panel.

    The slope of ratings of mean 0 and variance 1 on the others' scores, over the median person's.
    """
    person = predicted.annotator
    num_shared = np.bincount(person, minlength=count)
    mean = np.bincount(person, predicted.score, count) / np.maximum(num_shared, 1)
    off = predicted.score - mean[person]
    squares = np.bincount(person, off**2, count)
    known = squares > 1e-9
    slope = np.divide(np.bincount(person, off * predicted.rating, count), squares, out=np.zeros(count), where=known)
    error = np.divide(1.0, np.sqrt(squares), out=np.full(count, np.inf), where=known)
    typical = float(np.median(slope[known])) if known.any() else 0.0
    if typical <= 0:
        return np.full(count, np.nan), np.full(count, np.nan), num_shared
    return np.where(known, slope, np.nan) / typical, error / typical, num_shared


def flag_raters(skill: Floats, error: Floats, num_shared: Indices) -> list[tuple[str, ...]]:
    """Return `random` or `reversed` for whom this is both large and significant, by the rules of `flags`."""
    enough = np.isfinite(skill) & (num_shared >= MIN_SHARED)
    safe, safe_error = np.where(enough, skill, 1.0), np.where(enough, error, 1.0)
    p_values = [np.where(enough, norm.sf(z), 1.0) for z in ((1 - safe) / safe_error, -safe / safe_error)]
    adjusted = np.split(false_discovery_control(np.concatenate(p_values)), 2)
    is_random = enough & (adjusted[0] <= DISCOVERY_RATES["random"]) & (safe <= LOW_SKILL)
    is_random &= (safe - 2 * safe_error <= NO_SKILL) & (safe + 2 * safe_error <= HONEST_SKILL)
    is_reversed = enough & (adjusted[1] <= FALSE_DISCOVERY_RATE) & (safe <= -LOW_SKILL)
    return [
        ("reversed",) if turned else ("random",) if chance else ()
        for turned, chance in zip(is_reversed.tolist(), is_random.tolist(), strict=True)
    ]
