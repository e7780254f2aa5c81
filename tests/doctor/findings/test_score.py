"""Scores that do not rise, tell nothing apart, or are loved by nobody else."""

import numpy as np
import pytest

from broken_metrics import history, ramp
from likelier.doctor.findings import score


def flat(num_steps=40, seed=3):
    return 0.5 + 0.125 * np.random.default_rng(seed).standard_normal(num_steps)


def test_a_score_that_rises_is_no_finding():
    assert score.reward_flat(history()) is None
    assert score.reward_flat(history(score=1 - np.exp(-ramp(0, 20)) + flat())) is None  # at once, then no more


def test_a_flat_score_is_named_with_its_change_and_steps():
    found = score.reward_flat(history(score=flat()))
    assert (found.name, found.severity, found.step) == ("reward_flat", "warning", 40)
    assert "first third of 40 steps" in found.evidence
    assert "not towards the score" in found.cause


def test_a_falling_score_is_an_error():
    assert score.reward_flat(history(score=flat() - ramp(0, 1))).severity == "error"


def test_why_it_is_flat():
    def why(**spoilt):
        return why_with(None, **spoilt)

    def why_with(settings, **spoilt):
        return score.reward_flat(history(settings, score=flat(), **spoilt)).cause

    assert "stays where it was" in why(kl=ramp(0, 0.05), kl_std=ramp(0, 0.3))
    assert "updates change nothing" in why(approx_kl=1e-9)
    assert "too large" in why(clipfrac=0.4)
    assert "more than about 1 ahead, of" in why_with({"lam": 0.0})
    assert "not towards the score" in why_with({"lam": 0.0}, response_length=5.0)
    assert "KL penalty drowns" in why_with(None, unpunished_std=0.01, kl_coef=5.0)
    assert "penalty of a missing end (1,000)" in why_with({"missing_eos_penalty": 1000.0}, unpunished_std=0.6)
    assert "not towards the score" in why_with({"missing_eos_penalty": 1.0}, unpunished_std=0.6)
    constant = score.reward_flat(history(score=0.5, score_std=0.0))
    assert "same score" in constant.cause


def test_flat_is_not_said_too_early():
    assert score.reward_flat(history(num_steps=9, score=0.5, score_std=1.0)) is None
    assert score.reward_flat(history({"total_episodes": 64 * 100}, score=flat())) is None  # not yet half way
    few = {"batch_size": 2, "num_mini_batches": 1, "total_episodes": 2 * 12}
    noisy = np.random.default_rng(0).standard_normal(12)
    found = score.reward_flat(history(few, num_steps=12, score=noisy, episodes=2 * np.arange(1, 13), score_std=1.4))
    assert found is None  # 24 responses show nothing


def test_by_chance_a_flat_score_seldom_passes_and_a_rising_one_is_seldom_flagged():
    flagged = [score.reward_flat(history(score=flat(seed=seed))) is not None for seed in range(200)]
    assert np.mean(flagged) > 0.9
    assert not any(score.reward_flat(history(seed=seed)) for seed in range(200))


@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        ({"score": 1.0, "score_std": 0.0}, "same score"),
        ({"score_top_share": 0.97}, "has an end"),
        ({"score_bottom_share": 0.97}, "has an end"),
        ({"score_std": ramp(1.0, -0.5).clip(0.01)}, "levelled off"),
        ({"score": 500.0, "score_std": 0.01}, "lost beside its size"),
        ({"unpunished_std": 0.001, "kl_coef": 0.05}, "far less than the KL penalty"),
    ],
)
def test_saturated(spoilt, cause):
    assert cause in score.scorer_saturated(history(**spoilt)).cause
    assert score.scorer_saturated(history()) is None
    assert score.scorer_saturated(history(unpunished_std=1.0, kl_coef=0.05)) is None


def test_what_to_do_about_a_spread_that_is_lost():
    assert "ppo.reward_center" in score.scorer_saturated(history(score=500.0, score_std=0.01)).remedy
    assert "`weight`" in score.scorer_saturated(history(unpunished_std=0.01, kl_coef=100.0)).remedy
    assert "squashing" in score.scorer_saturated(history(score_top_share=0.97)).remedy


def of_reward(**result):
    run = history()
    return score.check_heldout_pairs(type(run)(run.lines, run.config, {}, {"rm": result}))


def test_a_reward_model_that_ranks_no_better_than_a_coin():
    found = of_reward(accuracy=0.52, pairs=400)
    assert found.name == "scorer_at_chance"
    assert "on 400 held-out pairs 0.52, 95 % interval 0.47 to 0.57" in found.evidence
    assert of_reward(accuracy=0.3, pairs=400).name == "scorer_at_chance"  # worse than a coin
    assert of_reward(accuracy=0.62, pairs=400) is None
    assert of_reward(accuracy=0.55, pairs=1000) is None  # not much, but no coin
    assert of_reward(accuracy=None) is None


def test_few_pairs_do_not_show_that_a_reward_model_is_at_chance():
    assert of_reward(accuracy=0.5, pairs=8) is None
    assert of_reward(accuracy=0.625, pairs=8) is None
    assert of_reward(accuracy=0.5, pairs=103) is None
    assert of_reward(accuracy=0.5, pairs=104).name == "scorer_at_chance"


def judged(*correlations, deviation=1.0):
    lines = [
        {"step": 4 * at, "eval_responses": 64, "eval_correlation/other": correlation, "eval_score_std": deviation}
        for at, correlation in enumerate(correlations, 1)
    ]
    run = history()
    return type(run)([*run.lines, *lines], run.config)


def test_judges_that_see_nothing_of_the_score():
    found = score.check_judge_correlation(judged(*[0.01] * 5))
    assert "on 192 held-out responses: 0.01 with other" in found.evidence
    assert found.cause == "The score has nothing to do with what the judges see"
    assert score.check_judge_correlation(judged(*[0.3] * 5)) is None
    assert score.check_judge_correlation(judged(0.01, 0.01)) is None  # 128 responses: too few to say


def test_judges_who_turn_away_later_are_not_strangers_to_the_score():
    assert score.check_judge_correlation(judged(0.9, 0.7, 0.4, -0.5, -0.9, -0.9)) is None
    assert score.check_judge_correlation(judged(0.0, 0.0, 0.0, 0.3, 0.5)) is None  # rare at the start
    assert score.check_judge_correlation(judged(*[0.0] * 5, deviation=0.0)) is None  # a constant
    assert score.check_judge_correlation(judged(*[-0.8] * 4)).cause == "The judges prefer the opposite"


def test_a_score_that_does_not_follow_the_policy():
    far = {"kl": ramp(0, 6), "explained_variance_mc": 0.0}
    assert score.check_score_after_training(history(score=flat(), **far)).name == "scorer_at_chance"
    assert (
        score.check_score_after_training(history(score=flat(), kl=ramp(0, 6))) is None
    )  # the critic predicts something
    assert (
        score.check_score_after_training(history(score=flat(), kl=ramp(0, 200), explained_variance_mc=0.0)) is None
    )  # wild, not blind


@pytest.mark.parametrize(
    ("spoilt", "seen"),
    [
        ({"score_std": 0.0}, "score_std"),
        ({"equal_groups": 0.95}, "equal_groups"),
        ({"equal_groups": 0.0, "group_score_std": 0.001}, "group_score_std"),
        ({"advantage_std": 0.0}, "advantage_std"),
    ],
)
def test_nothing_to_prefer(spoilt, seen):
    assert seen in score.advantage_zero(history(**spoilt)).evidence
    assert score.advantage_zero(history(equal_groups=0.3, group_score_std=0.7)) is None
