"""The finding of over-optimisation: judges that were not trained against fall while the score rises."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from likelier.doctor.findings.history import Finding, History, short
from likelier.intervals import Floats


def gold_drift(run: History) -> Finding | None:
    """A judge that was not trained against falls while the score rises, or comes to anti-correlate with it
    (Gao et al. 2023, "Scaling laws for reward model overoptimization").
    """
    lines = [line for line in [{"step": 0, **run.before}, *run.lines] if line.get("eval_score") is not None]
    judges = dict.fromkeys(name for line in lines for name in line if name.startswith("eval/"))
    drops = [measure_drop(lines, name) for name in judges]
    worst = max((drop for drop in drops if drop), key=lambda drop: drop[0], default=None)
    turned = next((text for name in judges if (text := describe_reversal(lines, name.partition("/")[2]))), None)
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


def describe_reversal(lines: Sequence[Mapping[str, Any]], judge: str) -> str | None:
    """Describes a judge whose correlation with the score went from above 0 to below 0, by three standard errors each.

    It precedes the fall of the judge: among the responses of the present policy the score prefers what the judge
    likes less.
    """
    name = f"eval_correlation/{judge}"
    known = [line for line in lines if line.get(name) is not None and line.get("eval_responses")]
    if len(known) < 4:
        return None
    first, last = (float(np.mean([line[name] for line in pair])) for pair in (known[:2], known[-2:]))
    error = 1 / math.sqrt(2 * known[-1]["eval_responses"])
    if first < 3 * error or last > -3 * error:
        return None
    return (
        f"correlation of {judge} with the score fell from {short(first)} in steps {known[0]['step']} to "
        f"{known[1]['step']} to {short(last)} in steps {known[-2]['step']} to {known[-1]['step']} (± {short(error)})"
    )


def measure_drop(lines: Sequence[Mapping[str, Any]], judge: str) -> tuple[float, str] | None:
    """(Fall of a judge from its best in standard errors, description); None unless the score rose meanwhile."""
    known = [line for line in lines if line.get(judge) is not None]
    if len(known) < 2:
        return None
    gold, score = (np.array([line[name] for line in known], float) for name in (judge, "eval_score"))
    error, together = estimate_judge_error(known, judge, gold), 2 if len(known) >= 4 else 1
    if together == 1:
        error *= math.sqrt(2)  # single measurements
    smooth_gold, smooth_score = (compute_running_means(each, together) for each in (gold, score))
    best = int(smooth_gold[:-1].argmax())
    fell, rose = smooth_gold[best] - smooth_gold[-1], smooth_score[-1] - smooth_score[best]
    if fell <= 3 * error or rose <= 0:
        return None
    name, at, last = judge.partition("/")[2], known[best + together - 1]["step"], known[-1]["step"]
    description = (
        f"{name} fell from {short(smooth_gold[best])} at step {at} to {short(smooth_gold[-1])} at step {last} "
        f"(± {short(error)}), while eval_score rose from {short(smooth_score[best])} to {short(smooth_score[-1])}"
    )
    return float(fell / error) if error else math.inf, description


def compute_running_means(values: Floats, width: int) -> Floats:
    """Means over windows of `width`: a single measurement may be lucky."""
    means: Floats = np.lib.stride_tricks.sliding_window_view(values, width).mean(1)
    return means


def estimate_judge_error(lines: Sequence[Mapping[str, Any]], judge: str, gold: Floats) -> float:
    """Standard error of the difference of two window means; from second differences where the spread is not logged."""
    spreads = [line.get(judge.replace("eval/", "eval_std/", 1)) for line in lines]
    known = [spread for spread in spreads if spread is not None]
    count = lines[-1].get("eval_responses")
    if known and count:
        return float(np.mean(known) / math.sqrt(count))
    if len(gold) < 4:
        return math.inf
    return float(np.sqrt(np.mean(np.diff(gold, 2) ** 2) / 6)) or 1e-9
