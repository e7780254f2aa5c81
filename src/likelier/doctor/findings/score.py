"""Findings on the score: its rise, its spread over responses, and its agreement with judges."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from likelier.doctor.findings.history import Finding, History, Level, fmt
from likelier.intervals import Floats, clopper_pearson
from likelier.ppo.algorithms import ALGORITHMS
from likelier.runs.curve import CurvePoint

MIN_STEPS = 10
MIN_JUDGED = 150
"""Responses on which a correlation is known to about 0.08."""
MIN_CORRELATION = 0.08
USEFUL_ACCURACY = 0.6
"""Accuracy on held-out pairs that a reward model of some use may have; people agree with one another in 0.7."""
FIX_SATURATED = (
    "Take the score before any squashing or clipping (a logit, not its sigmoid), grade what is all or "
    "nothing, or stop: there is nothing left to learn from it"
)
FIX_WEAK_SIGNAL = "Raise the `weight` of its source or set ppo.reward_norm=running; or lower ppo.kl_coef"
FIX_SCORER = (
    "Score the same responses twice, and look at the accuracy of the reward run on held-out pairs; check the reward "
    "model's prompts, chat template and max_length, or give it more pairs that people agree on"
)


class Rise(NamedTuple):
    """Increase of the score, in units of the score, with its standard error."""

    rise: float
    stderr: float

    @property
    def z(self) -> float:
        """The rise in standard errors."""
        return self.rise / self.stderr


def estimate_rises(scores: Floats, stderr_of_step: float) -> list[Rise]:
    """Estimate the rise in three ways: linear fit, first to last third, first steps to last third.

    The noise of a step is estimated from the median difference of neighbours, which is robust to trends and jumps, and
    is at least the standard error over responses. The rise of a linear fit over n steps has the variance 12 (n - 1) /
    (n (n + 1)) per unit of noise variance.
    """
    n, third = len(scores), len(scores) // 3
    rounding = 1e-6 * max(1.0, float(np.abs(scores).max()))
    between = 1.4826 * float(np.median(np.abs(np.diff(scores)))) / math.sqrt(2)
    noise = max(between, stderr_of_step, rounding)
    slope = float(np.polyfit(np.arange(n), scores, 1)[0])
    last = float(scores[-third:].mean())
    return [
        Rise(slope * (n - 1), noise * math.sqrt(12 * (n - 1) / (n * (n + 1)))),
        Rise(last - float(scores[:third].mean()), noise * math.sqrt(2 / third)),
        Rise(last - float(scores[:3].mean()), noise * math.sqrt(1 / third + 1 / 3)),
    ]


def scores_after_warmup(run: History) -> tuple[Floats, float]:
    """Scores of the steps after the critic's warm-up, and the standard error of one step's mean."""
    scores = run.column("score")[run.ppo.critic_warmup_steps :]
    window = slice(run.ppo.critic_warmup_steps, None)
    return scores[np.isfinite(scores)], run.stderr_of_step("score", window)


def reward_flat(run: History) -> Finding | None:
    """The score does not rise, although there were enough responses to detect a rise of half a standard deviation."""
    scores, stderr_of_step = scores_after_warmup(run)
    if len(scores) < MIN_STEPS or 2 * len(run.lines) < run.ppo.steps:
        return None
    estimates = estimate_rises(scores, stderr_of_step)
    best, spread = max(estimates, key=lambda estimate: estimate.z), run.level("score_std", 0, len(run.lines))
    if best.z > 2 or (spread is not None and spread.mean > 0 and 4 * estimates[1].stderr > spread.mean):
        return None
    rise = estimates[1]
    fell = max(estimate.z for estimate in estimates[:2]) < -3
    evidence = f"score changed by {fmt(rise.rise)} ± {fmt(rise.stderr)} from the first third of {len(scores)} steps"
    return Finding(
        "reward_flat",
        "error" if fell else "warning",
        run.last,
        f"{evidence} to the last, up to step {run.last}" + (f"; score_std {spread}" if spread else ""),
        *explain_flat_reward(run, spread),
    )


def explain_flat_reward(run: History, spread: Level | None) -> tuple[str, str]:
    """Explain a score that does not rise: cause and remedy."""
    kl, moved, clipped = run.final_level("kl"), run.level("approx_kl", 0, len(run.lines)), run.highest_level("clipfrac")
    if spread is not None and has_no_spread(spread, run.final_level("score")):
        return "Every response has the same score", "Give a score that tells responses apart"
    if moved is not None and moved.mean < 1e-5:
        rate = run.level("learning_rate", 0, len(run.lines))
        rate_note = f", learning_rate {fmt(rate.mean)}" if rate else ""
        return f"The updates change nothing (approx_kl {fmt(moved.mean)}{rate_note})", "Raise ppo.learning_rate"
    if kl is not None and kl.mean < max(0.2, 2 * kl.stderr):
        why = f"its steps are small, or kl_coef {fmt(run.ppo.kl_coef)} holds it"
        return (
            f"The policy stays where it was (kl {kl} nats): {why}",
            "Raise ppo.learning_rate, or lower ppo.kl_coef; train for more steps",
        )
    if clipped is not None and clipped.mean > 0.2:
        return f"The steps are too large (clipfrac {clipped})", "Lower ppo.learning_rate and ppo.num_ppo_epochs"
    if drowned := explain_weak_signal(run):
        return drowned
    kl_note = f" (kl {kl} nats)" if kl else ""
    return (
        f"The policy moves{kl_note}, but not towards the score: it hardly depends on the response, or noise drowns it",
        "Run likelier doctor on the config: it scores several responses to each prompt; use larger batches",
    )


def explain_weak_signal(run: History) -> tuple[str, str] | None:
    """Explain by which settings the score's signal is lost among the tokens; None if by none."""
    ppo, own, length = run.ppo, run.level("unpunished_std", 0, len(run.lines)), run.final_level("response_length")
    if own is not None and ppo.missing_eos_penalty is not None and ppo.missing_eos_penalty > 20 * own.mean > 0:
        return (
            f"The penalty of a missing end ({fmt(ppo.missing_eos_penalty)}) drowns the score (unpunished_std {own})",
            "Lower ppo.missing_eos_penalty to one or two standard deviations of the score",
        )
    if drowned := compare_with_penalty(run):
        return f"The KL penalty drowns the score ({drowned})", FIX_WEAK_SIGNAL
    grows = ppo.lam_by_length is not None  # with the length of a response: it sees to the end of each
    sight = 1 / max(1e-9, 1 - ppo.gamma * ppo.lam)
    if ALGORITHMS[ppo.algorithm].has_critic and not grows and length is not None and sight < 0.1 * length.mean:
        cause = (
            f"A token learns of rewards that are more than about {sight:.0f} ahead, of {fmt(length.mean)}, only by "
            f"way of the critic (gamma {fmt(ppo.gamma)}, lam {fmt(ppo.lam)})"
        )
        return cause, "Set ppo.gamma=1 and ppo.lam=0.95 or higher"
    return None


def has_no_spread(spread: Level, score: Level | None) -> bool:
    """True if all scores are equal up to rounding."""
    return spread.mean <= 1e-6 * max(1.0, abs(score.mean) if score else 0.0)


def scorer_saturated(run: History) -> Finding | None:
    """The score no longer distinguishes responses: nearly all are equal, or at the best or worst possible score."""
    start, late, score = run.initial_level("score_std"), run.final_level("score_std"), run.final_level("score")
    if start is None or late is None or score is None or late.num < 3:
        return None
    constant = constant_sources(run)
    evidence = f"score {score}, score_std {start}, {late}"
    ends = [(name, run.final_level(name)) for name in ("score_top_share", "score_bottom_share")]
    at_end = next((f"{name} {level}" for name, level in ends if level and level.mean >= 0.9), None)
    remedy = FIX_SATURATED
    if has_no_spread(late, score):
        cause = "All responses have the same score"
    elif constant:
        evidence, cause = f"{evidence}; {', '.join(constant)}", "A source gives every response the same score"
    elif at_end and run.batch_size >= 4:
        evidence, cause = f"{evidence}; {at_end}", "The score has an end, and nearly all responses are there"
    elif len(run.lines) >= 6 and late.mean < 0.1 * start.mean:
        cause = "The score has levelled off, or the responses have become alike"
    elif late.mean < 1e-3 * abs(score.mean):
        cause = "The score's spread is lost beside its size"
        remedy = "Take its mean off (ppo.reward_center=true), or set ppo.reward_norm=running"
    elif drowned := compare_with_penalty(run):
        evidence, cause = (
            f"{evidence}; {drowned}",
            "The score tells responses apart by far less than the KL penalty does",
        )
        remedy = FIX_WEAK_SIGNAL
    else:
        return None
    return Finding(
        "scorer_saturated",
        "error" if has_no_spread(late, score) else "warning",
        run.last,
        evidence,
        cause,
        remedy,
    )


def compare_with_penalty(run: History) -> str | None:
    """Figures of a score whose spread is at most 1/50 of the KL penalty's; None if it is larger or unknown.

    At the optimum score - kl_coef * KL is equal for all responses, so score and penalty have the same spread.
    """
    spread, price, kl = run.final_level("unpunished_std"), run.final_level("kl_coef"), run.final_level("kl_std")
    if run.ppo.loss is not None or spread is None or price is None or kl is None:
        return None
    if spread.mean >= 0.02 * price.mean * kl.mean:
        return None
    return f"unpunished_std {spread}, kl_coef {price}, kl_std {kl}"


def constant_sources(run: History) -> list[str]:
    """Reward sources whose mean is bitwise identical over at least five steps."""
    names = [name for name in run.lines[-1] if name.startswith("score/")]
    means = {name: run.column(name) for name in names}
    return [
        f"{name} {fmt(values[0])} in steps 1 to {run.last}"
        for name, values in means.items()
        if len(values) >= 5 and run.batch_size > 1 and (values == values[0]).all()
    ]


def scorer_at_chance(run: History) -> Finding | None:
    """The score is no better than chance: on held-out pairs, against judges, or by the effect of training on it."""
    return check_heldout_pairs(run) or check_judge_correlation(run) or check_score_after_training(run)


def check_heldout_pairs(run: History) -> Finding | None:
    """A reward model whose held-out accuracy is compatible with chance and too low to be useful.

    Both bounds of the interval are checked: with few pairs neither can be concluded (at 50% accuracy it takes 104).
    """
    for name, result in run.rewards.items():
        accuracy, pairs = result.get("accuracy"), result.get("pairs")
        if accuracy is None or not pairs:
            continue
        low, high = result.get("accuracy_interval") or clopper_pearson(accuracy, pairs)
        if low <= 0.5 and high < USEFUL_ACCURACY:
            return Finding(
                "scorer_at_chance",
                "error",
                run.last,
                f"accuracy of {name} on {pairs} held-out pairs {fmt(accuracy)}, "
                f"95 % interval {fmt(low)} to {fmt(high)} (seen at step {run.last})",
                "The reward model does not rank pairs that it has not seen better than a coin",
                FIX_SCORER,
            )
    return None


def check_judge_correlation(run: History) -> Finding | None:
    """The score is uncorrelated with every judge while the policy is close to its initialisation.

    A negative correlation later in training means over-optimisation, see `gold_drift`.
    """
    # Scores that do not vary correlate with nothing, so such an evaluation is no evidence.
    measured = [point for point in run.curve if point.num_responses and point.score_std != 0]
    counts = np.cumsum([point.num_responses for point in measured])
    if not len(counts) or counts[-1] < MIN_JUDGED:
        return None
    early = measured[: int(np.searchsorted(counts, MIN_JUDGED)) + 1]
    means, since = mean_correlations(early), mean_correlations(measured)
    if not means or max(*means.values(), *since.values()) > MIN_CORRELATION:
        return None
    correlations = ", ".join(f"{fmt(mean)} with {name}" for name, mean in sorted(means.items()))
    opposed = max(means.values()) < -MIN_CORRELATION
    return Finding(
        "scorer_at_chance",
        "error",
        run.last,
        f"Correlation of the score on {counts[len(early) - 1]:.0f} held-out responses: {correlations}",
        "The judges prefer the opposite" if opposed else "The score has nothing to do with what the judges see",
        ("Look at the sign of the score and of the judge first. " if opposed else "") + FIX_SCORER,
    )


def mean_correlations(curve: Sequence[CurvePoint]) -> dict[str, float]:
    """Mean correlation of the score with each judge over the given evaluations."""
    judges = dict.fromkeys(name for point in curve for name in point.correlations)
    return {
        judge: float(np.mean([point.correlations[judge] for point in curve if judge in point.correlations]))
        for judge in judges
    }


def check_score_after_training(run: History) -> Finding | None:
    """The policy moved far but the score did not change: it does not depend on the response."""
    scores, stderr_of_step = scores_after_warmup(run)
    kl, clipped, spread = (
        run.final_level("kl"),
        run.highest_level("clipfrac"),
        run.level("score_std", 0, len(run.lines)),
    )
    foreseen = run.final_level("explained_variance_mc")
    first = run.level("kl", 0, 1) if run.ppo.reference else None  # a reference of its own is away from the start
    if len(scores) < 15 or kl is None or spread is None or kl.mean - (first.mean if first else 0) - 3 * kl.stderr < 1:
        return None
    too_wild = kl.mean > 15 or (clipped is not None and clipped.mean > 0.2)
    best = max(estimate_rises(scores, stderr_of_step), key=lambda estimate: estimate.rise + 2 * estimate.stderr)
    if too_wild or has_no_spread(spread, run.final_level("score")) or best.rise + 2 * best.stderr > 0.25 * spread.mean:
        return None
    if foreseen is not None and foreseen.mean > 0.1:
        return None
    return Finding(
        "scorer_at_chance",
        "warning",
        run.last,
        f"kl {kl} nats, while the score rose by {fmt(best.rise)} ± {fmt(best.stderr)} (score_std {spread})",
        "What the policy changes makes no difference to the score: it seems to be drawn by chance",
        FIX_SCORER,
    )


def advantage_zero(run: History) -> Finding | None:
    """The responses to a prompt have equal scores, so all advantages are 0."""
    spread, score = run.final_level("score_std"), run.final_level("score")
    equal, within, used = (
        run.final_level("equal_groups"),
        run.final_level("group_score_std"),
        run.final_level("advantage_std"),
    )
    if score is None or score.num < 3:
        return None
    if spread is not None and has_no_spread(spread, score):
        evidence, cause = (
            f"score_std {spread}",
            "All responses have the same score, so only the KL penalty tells them apart",
        )
    elif equal is not None and equal.mean >= 0.8:
        evidence, cause = f"equal_groups {equal}", "The responses to a prompt all have the same score"
    elif within is not None and spread is not None and within.mean < 0.02 * spread.mean:
        evidence, cause = (
            f"group_score_std {within}, score_std {spread}",
            "The score depends on the prompt, not the response",
        )
    elif used is not None and used.mean < 1e-6:
        evidence, cause = f"advantage_std {used}", "The advantages are 0"
    else:
        return None
    return Finding(
        "advantage_zero",
        "error",
        run.last,
        evidence,
        cause,
        "Take prompts that the model sometimes gets right and sometimes wrong, raise ppo.responses_per_prompt or "
        "ppo.temperature, or grade the score more finely",
    )
