"""Ordinal models against brute force, numbers worked out by hand, and simulated people whose scores are known."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from likelier.feedback.ordinal import (
    SCORE_SD,
    GradedTerms,
    Guessing,
    Scores,
    compare_scores,
    fit_ratings,
    grade,
    make_thresholds,
    mix,
)


def test_probabilities_of_the_categories_by_hand() -> None:
    # sigmoid(log 3) = 3/4 above the first threshold, sigmoid(-log 4) = 1/5 above the second
    lower, upper = np.array([-np.inf, 0.0, np.log(12)]), np.array([0.0, np.log(12), np.inf])
    terms = grade(np.full(3, np.log(3)), lower, upper)
    assert np.exp(terms.log_probability) == pytest.approx([0.25, 0.55, 0.2])
    step = 1e-6
    for name, moved in (("by_score", (step, 0, 0)), ("by_lower", (0, step, 0)), ("by_upper", (0, 0, step))):
        other = grade(np.full(3, np.log(3)) + moved[0], lower + moved[1], upper + moved[2]).log_probability
        assert getattr(terms, name) == pytest.approx((other - terms.log_probability) / step, abs=1e-5)
    assert make_thresholds(np.array([1.0, 0.0, np.log(2)]))[0].tolist() == [1.0, 2.0, 4.0]


def test_one_thumb_by_brute_force() -> None:
    """A response with one thumb up and one with one down by the same person: the mode of the posterior, searched."""
    fitted = fit_ratings(np.array([0, 1]), np.array([0, 0]), np.array([1, 0]), 2)

    def loss(s: float) -> float:  # by symmetry the threshold is 0 and the scores are s and -s
        return -2 * np.log(expit(s)) + s * s / SCORE_SD**2

    best = minimize(lambda x: loss(x[0]), [0.5]).x[0]
    assert fitted.scores.mean == pytest.approx([best, -best], abs=1e-3)
    assert fitted.thresholds == pytest.approx(0.0, abs=1e-3)
    assert fitted.scores.variance[0] == pytest.approx(1 / (expit(best) * expit(-best) + 1 / 4), rel=1e-3)


def test_ratings_of_people_with_scales_of_their_own() -> None:
    generator = np.random.default_rng(0)
    scores, count = generator.normal(0, 1.5, 60), 2400
    response, annotator = generator.integers(60, size=count), generator.integers(8, size=count)
    common, shift = np.array([-3.0, -1.0, 1.0, 3.0]), generator.normal(0, 1.0, 8)
    above = generator.random(count)[:, None] < expit(scores[response][:, None] - common - shift[annotator][:, None])
    fitted = fit_ratings(response, annotator, above.sum(axis=1), 5)
    slope, _ = np.polyfit(scores, fitted.scores.mean, 1)
    assert slope == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(scores, fitted.scores.mean)[0, 1] > 0.95
    assert np.corrcoef(shift, fitted.thresholds.mean(axis=1))[0, 1] > 0.9
    assert (np.diff(fitted.thresholds, axis=1) > 0).all()


def test_who_rated_better_responses_is_no_kinder() -> None:
    """Both rated 15 alike, and 35 of their own, of which one's are better by 3, shrunk by half: standardised, by 0."""
    generator = np.random.default_rng(1)
    scores = np.concatenate([np.zeros(15), np.full(35, 1.5), np.full(35, -1.5)])
    response = np.concatenate([np.arange(50), np.arange(15), np.arange(50, 85)])
    above = expit(scores[response][:, None] - np.array([-2.0, 0.0, 2.0])) > generator.random((100, 1))
    fitted = fit_ratings(response, np.repeat([0, 1], 50), above.sum(axis=1), 4)
    assert fitted.scores.mean[15:50].mean() - fitted.scores.mean[50:].mean() > 0.8


def test_ratings_that_ignore_the_response_by_hand() -> None:
    """Read with probability 3/4: 3/4 * 0.2 + 1/4 * 0.4 = 0.25, of which 0.6 was read."""
    terms = GradedTerms(*(np.array([value]) for value in (np.log(0.2), 0.5, -0.1, 0.2, 0.3)))
    mixed = mix(terms, np.array([0.25]), np.array([0.4]))
    assert np.exp(mixed.log_probability) == pytest.approx(0.25)
    assert [float(each[0]) for each in mixed[1:]] == pytest.approx([0.3, -0.06, 0.12, 0.18])


def test_who_never_looks_changes_no_score() -> None:
    response, annotator = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    category, habit = np.array([1, 0, 0, 1]), np.full((2, 2), 0.5)
    alone = fit_ratings(response[:2], annotator[:2], category[:2], 2)
    both = fit_ratings(response, annotator, category, 2, Guessing(np.array([0.0, 1.0]), habit))
    assert both.scores.mean == pytest.approx(alone.scores.mean, abs=1e-3)
    assert both.scores.variance == pytest.approx(alone.scores.variance, rel=1e-3)


def test_each_pair_of_a_ranking_is_bradley_and_terrys() -> None:
    """Why rankings become pairs without a change of scale: Plackett and Luce's chance that 0 is before 1."""
    e = np.exp([0.7, -0.4, 1.1])
    before = sum(
        e[order[0]] / e.sum() * e[order[1]] / (e[order[1]] + e[order[2]])
        for order in itertools.permutations(range(3))
        if order.index(0) < order.index(1)
    )
    assert before == pytest.approx(expit(0.7 + 0.4))


def test_doubt_makes_a_comparison_less_sure() -> None:
    sure, unsure = (Scores(np.array([2.0, 0.0]), np.full(2, variance)) for variance in (0.0, 4.0))
    assert compare_scores(sure, 0, 1) == pytest.approx(expit(2.0))
    assert compare_scores(unsure, 0, 1) == pytest.approx(expit(2 / np.sqrt(1 + np.pi)))
    assert compare_scores(unsure, 1, 0) == pytest.approx(1 - compare_scores(unsure, 0, 1))
