"""Win rates at equal length, against known ones."""

import numpy as np
import pytest
from scipy.special import expit, logit

from likelier.evaluation.length_control import control_length

NAMES = [str(number) for number in range(400)]


def test_without_a_relation_it_is_the_win_rate():
    """Half of the pairs longer, half shorter, each won in three of four: level logit(3/4), slope 0."""
    lengths = np.repeat([100.0, -100.0], 200)
    found = control_length(np.tile([1.0, 1.0, 1.0, 0.0], 100), lengths, NAMES)
    assert found.rate == pytest.approx(0.75, abs=1e-3)
    assert found.slope == pytest.approx(0.0, abs=1e-6)
    assert found.interval == pytest.approx([0.7041, 0.7922], abs=2e-3)  # as of 400 independent rows


def test_a_win_rate_by_length_alone_is_one_half():
    """At +-s tanh is +-0.7616: 3/4 of 300 longer ones won and 1/4 of 100 shorter ones: 0.625 in all, level 0."""
    lengths = np.repeat([50.0, -50.0], [300, 100])
    wins = np.concatenate([np.tile([1.0, 1.0, 1.0, 0.0], 75), np.tile([0.0, 0.0, 0.0, 1.0], 25)])
    found = control_length(wins, lengths, NAMES)
    assert wins.mean() == 0.625
    assert found.rate == pytest.approx(0.5, abs=2e-3)
    assert found.slope == pytest.approx(logit(0.75) / np.tanh(1.0), rel=5e-3)
    assert found.interval[0] < 0.5 < found.interval[1]


def test_ties_count_half_and_prompts_are_clusters():
    lengths = np.repeat([1.0, -1.0], 200)
    ties = control_length(np.full(400, 0.5), lengths, NAMES)
    assert ties.rate == pytest.approx(0.5)
    wins = np.repeat(np.tile([1.0, 1.0, 1.0, 0.0], 10), 10)
    alone, together = (
        control_length(wins, np.tile([1.0, -1.0], 200), names) for names in (NAMES, np.repeat(NAMES[:40], 10).tolist())
    )
    widths = [each.interval[1] - each.interval[0] for each in (alone, together)]
    assert widths[1] > 2.5 * widths[0]  # sqrt(10), but for the asymmetry of the exact interval


def test_all_won_is_no_certainty():
    found = control_length(np.ones(400), np.linspace(-1, 1, 400), NAMES)
    assert expit(3) < found.rate < 1
    assert found.interval[0] < 0.995


def test_too_few_prompts_or_no_difference_cannot_be_told():
    assert control_length(np.ones(19), np.ones(19), NAMES[:19]) is None
    assert control_length(np.ones(400), np.zeros(400), NAMES) is None
    assert control_length([], [], []) is None


def test_weights_count_as_repetition_does():
    lengths, wins = np.array([3.0, -1.0, 2.0, -2.0] * 10), np.array([1.0, 0.0, 0.5, 1.0] * 10)
    weights = np.array([1.0, 2.0, 3.0, 1.0] * 10)
    rows = np.repeat(np.arange(40), weights.astype(int))
    names = np.repeat(NAMES[:20], 2)
    once, repeated = (
        control_length(wins, lengths, names.tolist(), weights),
        control_length(wins[rows], lengths[rows], names[rows].tolist()),
    )
    assert once.rate == pytest.approx(repeated.rate)
    assert once.interval == pytest.approx(repeated.interval)
