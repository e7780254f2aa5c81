"""Thresholds of strengths of preference: people whose thresholds are known, and strengths that say nothing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from likelier.feedback.careless import Careless, estimate_careless
from likelier.feedback.strengths import Fit, Graded, fit_gaps, fit_thresholds, grade_votes, measure_fit, measure_gain
from likelier.feedback.votes import Votes

PEOPLE, EACH = 10, 90
HONEST = Careless(np.zeros(PEOPLE), np.full(PEOPLE, 0.5), np.zeros(PEOPLE), np.zeros(PEOPLE))


def draw_votes(thresholds: np.ndarray, recurring: bool = False, seed: int = 0) -> Votes:
    """Votes of ten people with thresholds [3] or [10, 3]; three on each pair, or each response in about 18."""
    generator = np.random.default_rng(seed)
    count = PEOPLE * EACH
    if recurring:
        annotator, scores = np.repeat(np.arange(PEOPLE), EACH), generator.normal(0, 1.5, 100)
        left, right = np.array([generator.permutation(100)[:2] for _ in range(count)]).T
    else:
        annotator = np.concatenate([generator.permutation(PEOPLE)[:3] for _ in range(count // 3)])
        left, scores = 2 * np.repeat(np.arange(count // 3), 3), generator.normal(0, 1.5, count)
        right = left + 1
    perceived = scores[left] - scores[right] + generator.logistic(size=count)
    own = np.broadcast_to(thresholds, (PEOPLE, 3))[annotator]
    strength = (np.abs(perceived)[:, None] >= own).sum(axis=1)
    sign = np.where(strength == 0, 0.0, np.sign(perceived))
    comparison, nothing = np.minimum(left, right) * count + np.maximum(left, right), np.full(count, np.nan)
    first, no_time = np.where(left < right, 1.0, -1.0), np.zeros(count, bool)
    return Votes(annotator, comparison, left, right, sign, first, nothing, nothing, no_time, strength=strength)


@pytest.mark.parametrize("recurring", [True, False], ids=["scores", "votes"])
@pytest.mark.parametrize("lowest", [0.0, 0.5], ids=["no ties", "ties"])
def test_thresholds_come_back(lowest: float, recurring: bool) -> None:
    votes = draw_votes(np.array([lowest, 1.0, 2.5]), recurring)
    found = fit_thresholds(votes, HONEST, PEOPLE)
    assert found is not None
    assert np.median(found, axis=0) == pytest.approx([lowest, 1.0, 2.5], rel=0.2)
    assert (found[:, 0] == 0).all() == (lowest == 0)


def test_people_use_the_scale_differently() -> None:
    own = np.array([0.0, 1.0, 2.5]) * np.exp(np.linspace(-1, 1, PEOPLE))[:, None]
    found = fit_thresholds(draw_votes(own), HONEST, PEOPLE)
    assert found is not None
    assert np.corrcoef(np.log(found[:, 2]), np.log(own[:, 2]))[0, 1] > 0.95


def test_strengths_at_random_are_left_out() -> None:
    """Of all people, and of one among others; also of too few answers, or with one strength alone."""
    votes = draw_votes(np.array([0.0, 1.0, 2.5]))
    assert votes.strength is not None
    shuffled = np.random.default_rng(0).permutation(votes.strength)
    assert fit_thresholds(replace(votes, strength=shuffled), HONEST, PEOPLE) is None
    upside_down = np.where(votes.annotator == 3, 4 - votes.strength, votes.strength)
    found = fit_thresholds(replace(votes, strength=upside_down), HONEST, PEOPLE)
    assert found is not None
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
    assert fit_thresholds(votes.select(np.arange(len(votes.sign)) < 199), HONEST, PEOPLE) is None
    assert fit_thresholds(replace(votes, strength=np.ones_like(votes.strength)), HONEST, PEOPLE) is None
    assert fit_thresholds(replace(votes, strength=None), HONEST, PEOPLE) is None


def test_coins_with_strengths_of_their_own_do_not_move_the_others() -> None:
    votes, generator = draw_votes(np.array([0.0, 1.0, 2.5])), np.random.default_rng(1)
    bad, count = votes.annotator < 3, len(votes.sign)
    sign = np.where(bad, generator.choice([1.0, -1.0], count), votes.sign)
    strength = np.where(bad, generator.integers(1, 4, count), votes.strength)
    mixed = replace(votes, sign=sign, strength=strength)
    careless = estimate_careless(mixed, PEOPLE)
    assert careless is not None
    found = fit_thresholds(mixed, careless, PEOPLE)
    assert found is not None
    assert np.nanmedian(found[3:], axis=0) == pytest.approx([0.0, 1.0, 2.5], rel=0.25)


def test_likelihood_by_hand_and_its_gradient() -> None:
    # one answer, d = 0 or log 3 alike; "slightly" up to log 3; a fifth careless, of which 0.3 are this answer:
    # sigmoid(0) - sigmoid(-log 3) = 1/4 and 3/4 - 1/2 = 1/4
    one = Graded(*(np.array([each]) for each in ([0.0, np.log(3)], [0.5, 0.5], 0, 1, 0.2, 0.3)))
    fit = Fit(np.array([[0.0, np.log(3), 4.0]]), 1.0)
    assert measure_fit(one, fit)[0] == pytest.approx([-np.log(0.8 * 0.25 + 0.2 * 0.3)])

    graded = grade_votes(draw_votes(np.array([0.4, 1.0, 2.5])), HONEST._replace(shares=np.full(PEOPLE, 0.1)), PEOPLE)
    assert graded is not None
    thresholds = np.tile([0.3, 0.9, 2.0], (PEOPLE, 1))
    _, by_factor, by_threshold = measure_fit(graded, Fit(thresholds, 0.9))
    step = 1e-5

    def differ(moved: Fit, back: Fit) -> float:
        return float((measure_fit(graded, moved)[0].sum() - measure_fit(graded, back)[0].sum()) / (2 * step))

    grown = Fit(thresholds, 0.9 * np.exp(step)), Fit(thresholds, 0.9 * np.exp(-step))
    assert by_factor == pytest.approx(differ(*grown), rel=1e-4)
    for place in ((2, 0), (2, 1), (7, 2)):
        up, down = thresholds.copy(), thresholds.copy()
        up[place] += step
        down[place] -= step
        assert by_threshold[place] == pytest.approx(differ(Fit(up, 0.9), Fit(down, 0.9)), rel=1e-4)


def test_what_strengths_add_by_hand() -> None:
    """One person, d = 0 for sure: sides say nothing, and thresholds of log 3 give a half to each of two strengths."""
    count = 400
    strength = np.tile([1, 3], count // 2)
    zeros = np.zeros(count)
    graded = Graded(zeros[:, None], np.ones((count, 1)), zeros.astype(int), strength, zeros, zeros + 0.5)
    fit = Fit(np.array([[0.0, np.log(3), np.log(3) + 1e-9]]), 1.0)
    # sigmoid(0) - sigmoid(-log 3) = 1/4 = a half for the side times a half for the strength
    assert expit(0) - expit(-np.log(3)) == pytest.approx(0.25)
    assert measure_gain(graded, fit, 1) == pytest.approx(0.0, abs=1e-3)
    assert fit_gaps(graded, 1).thresholds[0, 1] == pytest.approx(np.log(3), abs=0.05)


def test_a_sample_of_a_large_panel_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = draw_votes(np.array([0.0, 1.0, 2.5]))
    monkeypatch.setattr("likelier.feedback.strengths.MAX_ANSWERS", 500)
    graded = grade_votes(votes, HONEST, PEOPLE)
    assert graded is not None
    assert len(graded.strength) == pytest.approx(450, abs=30)
    found = fit_gaps(graded, PEOPLE).thresholds
    assert np.median(found, axis=0) == pytest.approx([0.0, 1.0, 2.5], rel=0.25)
