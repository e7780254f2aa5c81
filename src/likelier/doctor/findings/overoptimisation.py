"""Findings of over-optimisation: held-out judges fall while the score rises; responses no reward model was taught."""

import math
from collections.abc import Sequence

import numpy as np

from likelier.doctor.findings.history import Finding, History, fmt
from likelier.intervals import Floats
from likelier.runs.curve import CurvePoint

SIGNS = ("high_distance/", "high_disagreement/")
HELD_OUT_SHARE, MANY_TIMES = 0.05, 3
"""Of the responses held out of a reward model's training, beyond each threshold; how many times that are many."""


def gold_drift(run: History) -> Finding | None:
    """A judge that is not trained against falls while the score rises, or becomes anti-correlated with the score (Gao
    et al. 2023, "Scaling laws for reward model overoptimization").
    """
    curve = [point for point in run.curve if point.score is not None]
    judges = dict.fromkeys(name for point in curve for name in point.judges)
    drops = [measure_drop(curve, name) for name in judges]
    worst = max((drop for drop in drops if drop), key=lambda drop: drop[0], default=None)
    turned = next((text for name in judges if (text := describe_reversal(curve, name))), None)
    if worst is None and turned is None:
        return None
    return Finding(
        "gold_drift",
        "error" if worst else "warning",
        run.last,
        worst[1] if worst else turned or "",
        "The policy has found what the score overrates (over-optimisation)",
        "Stop where the judge was best, raise ppo.kl_coef or set ppo.kl_target, or improve the score: more pairs from "
        "the present policy, reward_model.ensemble_size with `caution`",
    )


def out_of_distribution(run: History) -> Finding | None:
    """Many responses are unlike those a reward model was trained on: farther away from them, or more in dispute between
    its models, than all but one in twenty of the responses held out of its training.

    Three times as many, by three standard errors over responses.
    """
    signs = [name for name in run.lines[-1] if name.startswith(SIGNS)]
    # The highest, for what was learned from guesses stays learned, also where the policy comes back.
    highest = [(name, level) for name in signs if (level := run.highest_level(name)) is not None and level.num >= 3]
    name, level = max(highest, key=lambda each: each[1].mean, default=(None, None))
    if name is None or level is None:
        return None
    error = math.sqrt(level.mean * (1 - level.mean) / (run.batch_size * level.num))
    if level.mean - 3 * error <= MANY_TIMES * HELD_OUT_SHARE:
        return None
    start = run.initial_level(name)
    begun = start is not None and start.mean > MANY_TIMES * HELD_OUT_SHARE
    return Finding(
        "out_of_distribution",
        "warning",
        run.last,
        f"{name} {level}"
        + (f", {fmt(start.mean)} at the start" if start else "")
        + f"; {fmt(HELD_OUT_SHARE)} of the responses held out of the reward model's training",
        "The model never wrote like the responses that the reward model was trained on"
        if begun
        else "The policy has gone where the reward model was not trained: its score is a guess there",
        "Collect comparisons of the present model's responses and train the reward model again (a further round of the "
        "circle); or raise ppo.kl_coef, or use several models with `caution`",
    )


def describe_reversal(curve: Sequence[CurvePoint], judge: str) -> str | None:
    """Describe a judge whose correlation with the score went from positive to negative, by three standard errors each.

    This precedes the fall of the judge: among the current policy's responses the score prefers those that the judge
    likes less.
    """
    points = [(point, point.num_responses) for point in curve if judge in point.correlations and point.num_responses]
    if len(points) < 4:
        return None
    steps = [point.step for point, _ in points]
    correlations = [point.correlations[judge] for point, _ in points]
    first, last = float(np.mean(correlations[:2])), float(np.mean(correlations[-2:]))
    error = 1 / math.sqrt(2 * points[-1][1])
    if first < 3 * error or last > -3 * error:
        return None
    return (
        f"correlation of {judge} with the score fell from {fmt(first)} in steps {steps[0]} to "
        f"{steps[1]} to {fmt(last)} in steps {steps[-2]} to {steps[-1]} (± {fmt(error)})"
    )


def measure_drop(curve: Sequence[CurvePoint], judge: str) -> tuple[float, str] | None:
    """(Fall of a judge from its best in standard errors, description); None unless the score rose meanwhile."""
    points = [point for point in curve if judge in point.judges]
    if len(points) < 2:
        return None
    gold, score = (
        np.array([point.judges[judge] for point in points]),
        np.array([point.score for point in points], float),
    )
    error, together = estimate_judge_error(points, judge, gold), 2 if len(points) >= 4 else 1
    if together == 1:
        error *= math.sqrt(2)  # single measurements
    smooth_gold, smooth_score = (compute_running_means(values, together) for values in (gold, score))
    best = int(smooth_gold[:-1].argmax())
    fell, rose = smooth_gold[best] - smooth_gold[-1], smooth_score[-1] - smooth_score[best]
    if fell <= 3 * error or rose <= 0:
        return None
    best_step, last_step = points[best + together - 1].step, points[-1].step
    description = (
        f"{judge} fell from {fmt(smooth_gold[best])} at step {best_step} to {fmt(smooth_gold[-1])} "
        f"at step {last_step} (± {fmt(error)}), while eval_score rose from {fmt(smooth_score[best])} "
        f"to {fmt(smooth_score[-1])}"
    )
    return float(fell / error) if error else math.inf, description


def compute_running_means(values: Floats, width: int) -> Floats:
    """Means over windows of `width`, since a single measurement may be an outlier."""
    means: Floats = np.lib.stride_tricks.sliding_window_view(values, width).mean(1)
    return means


def estimate_judge_error(curve: Sequence[CurvePoint], judge: str, gold: Floats) -> float:
    """Standard error of the difference of two window means; from second differences where the spread is not logged."""
    stds = [point.judge_stds[judge] for point in curve if judge in point.judge_stds]
    if stds and (count := curve[-1].num_responses):
        return float(np.mean(stds) / math.sqrt(count))
    if len(gold) < 4:
        return math.inf
    return float(np.sqrt(np.mean(np.diff(gold, 2) ** 2) / 6)) or 1e-9
