"""Judges who fall, or turn against the score, while it goes on rising."""

import numpy as np

from broken_metrics import history
from likelier.doctor.findings import overoptimisation as drift


def evaluated(gold, proxy, deviation=0.3):
    """A run measured at steps 4, 8, …"""
    run = history()
    lines = [dict(line) for line in run.lines]
    for at, (judge, own) in enumerate(zip(gold, proxy, strict=True)):
        lines[4 * at + 3] |= {
            "eval/taste": judge,
            "eval_std/taste": deviation,
            "eval_score": own,
            "eval_responses": 100,
        }
    return type(run)(lines, run.config)


def test_a_judge_that_falls_while_the_score_rises():
    proxy = [0.1 * at for at in range(8)]
    found = drift.gold_drift(evaluated([0.3, 0.4, 0.5, 0.6, 0.5, 0.4, 0.3, 0.2], proxy))
    assert "taste fell from 0.55 at step 16 to 0.25 at step 32" in found.evidence
    assert drift.gold_drift(evaluated([0.3, 0.4, 0.5, 0.55, 0.6, 0.6, 0.58, 0.6], proxy)) is None
    assert drift.gold_drift(evaluated([0.6, 0.5, 0.4, 0.3], [0.4, 0.3, 0.2, 0.1])) is None  # both fall
    # two measurements tell as much as they can: 3 standard errors are 3 * 0.03 * sqrt 2 = 0.127
    assert "fell from 0.6 at step 4 to 0.45 at step 8" in drift.gold_drift(evaluated([0.6, 0.45], [0.1, 0.2])).evidence
    assert drift.gold_drift(evaluated([0.6, 0.48], [0.1, 0.2])) is None
    assert drift.gold_drift(evaluated([0.6, 0.1], [0.1, 0.2], None)) is None  # nothing to tell chance by
    assert drift.gold_drift(evaluated([0.5, 0.5], [0.1, 0.2], 0.0)) is None  # all responses are judged alike
    assert "fell from 0.5 at step 4 to 0.25" in drift.gold_drift(evaluated([0.5, 0.25], [0.1, 0.2], 0.0)).evidence
    noisy = [0.3, 0.4, 0.5, 0.55, 0.5, 0.52, 0.5, 0.49]
    assert drift.gold_drift(evaluated(noisy, proxy)) is None  # within 3 standard errors of 0.03


def turned(correlations, responses=50):
    """A run measured at steps 4, 8, … by a judge that stays where it was."""
    run = evaluated([0.5] * len(correlations), [0.1 * at for at in range(len(correlations))])
    lines = [dict(line) for line in run.lines]
    for at, correlation in enumerate(correlations):
        lines[4 * at + 3] |= {"eval_correlation/taste": correlation, "eval_responses": responses}
    return type(run)(lines, run.config)


def test_a_judge_that_turns_against_the_score():
    """Each mean of two correlations of 50 responses is good to 0.1."""
    found = drift.gold_drift(turned([0.8, 0.6, 0.1, -0.5, -0.7]))
    assert found.severity == "warning"
    assert "from 0.7 in steps 4 to 8 to -0.6 in steps 16 to 20 (± 0.1)" in found.evidence
    assert drift.gold_drift(turned([0.8, 0.6, 0.1, -0.2, -0.3])) is None
    assert drift.gold_drift(turned([0.2, 0.2, 0.1, -0.5, -0.7])) is None  # no friend of it at the start either
    assert drift.gold_drift(turned([0.8, 0.6, -0.7])) is None


def test_responses_unlike_the_training_are_three_in_twenty_by_three_errors():
    # of 64 responses in each of 8 steps: 0.15 + 3 * sqrt(0.2 * 0.8 / 512) = 0.203
    def find(share, **more):
        return drift.out_of_distribution(history(**{"high_distance/rm": share, **more}))

    assert find(0.19) is None
    found = find(0.21)
    assert (found.name, found.severity, found.step) == ("out_of_distribution", "warning", 40)
    assert found.evidence.startswith("high_distance/rm 0.21 in steps 1 to 8, 0.21 at the start; 0.05 of")
    assert "never wrote like" in found.cause
    assert "has gone where" in find(np.linspace(0.05, 0.5, 40)).cause
    assert find(np.concatenate([np.full(16, 0.05), np.full(8, 0.5), np.full(16, 0.05)])) is not None  # it came back
    assert find(0.05, **{"high_disagreement/rm": 0.4}).evidence.startswith("high_disagreement/rm 0.4")
    assert drift.out_of_distribution(history()) is None


def test_shares_at_the_level_are_seldom_called_high():
    """64 responses in each of 40 steps, one in twenty beyond the threshold: never in 200 runs."""
    found = [
        drift.out_of_distribution(
            history(**{"high_distance/rm": np.random.default_rng(seed).binomial(64, 0.05, 40) / 64})
        )
        for seed in range(200)
    ]
    assert found == [None] * 200
