"""Findings on the updates: ratio, clipping, gradients and the critic."""

import numpy as np

from likelier.doctor.findings.history import Finding, History, Level, fmt
from likelier.doctor.findings.score import has_no_spread

ROUNDING, ROUNDING_BF16 = 1e-4, 1e-2
TYPICAL_MAX_GRAD_NORM = 1.0
"""The default of `max_grad_norm`."""
TYPICAL_CLIPRANGE = 0.2
"""A policy that moves every ratio as far as this clip has an approx_kl of half its square."""


def ratio_not_one(run: History) -> Finding | None:
    """Old and new log-probabilities differ before the first optimizer step, although the weights are equal."""
    name = "first_ratio_deviation" if run.has("first_ratio_deviation") else "ratio"
    bound = (ROUNDING_BF16 if run.ppo.bf16 else ROUNDING) if name != "ratio" else 0.1
    apart = run.column(name) if name != "ratio" else abs(run.column(name) - 1)
    wrong = [index for index, value in enumerate(apart) if value > bound]
    if not wrong or (name == "ratio" and len(wrong) < 0.5 * len(apart)):
        return None
    worst = max(wrong, key=lambda index: apart[index])
    return Finding(
        "ratio_not_one",
        "error" if apart[worst] > 0.01 else "warning",
        int(run.steps[wrong[0]]),
        f"|ratio - 1| up to {fmt(apart[worst])} before the first optimizer step of step {int(run.steps[worst])} "
        f"({len(wrong)} of {len(apart)} steps)",
        "Old and new log-probabilities are not computed alike: dropout, another temperature, other padding, a cast, or "
        "log-probabilities taken from the sampler",
        "Compute both by the same function on the same rows with dropout off and the weights of the sampler",
    )


def clipfrac_high(run: History) -> Finding | None:
    """The policy loss of many tokens is clipped, so they contribute no gradient."""
    high = run.highest_level("clipfrac")
    updates = run.lines[-1].get("optimizer_steps", 0) / run.last
    share_that_can = 1 - 1 / updates if updates >= 2 else 1.0  # the first minibatch has ratio 1
    if high is None:
        return None
    moved = run.level_over("approx_kl", high)
    narrow = moved is not None and moved.mean < (
        0.005 if run.ppo.cliprange >= TYPICAL_CLIPRANGE else TYPICAL_CLIPRANGE**2 / 2
    )
    if high.mean < (0.2 if narrow else 0.3) * share_that_can:
        return None
    return Finding(
        "clipfrac_high",
        "warning",
        high.last,
        f"clipfrac {high}" + (f", approx_kl {moved}" if moved else "") + f", cliprange {fmt(run.ppo.cliprange)}",
        "The clip range is narrow beside what the steps change"
        if narrow
        else "The steps are too large for the clip range",
        "Raise ppo.cliprange" if narrow else "Lower ppo.learning_rate, ppo.num_ppo_epochs or ppo.num_mini_batches",
    )


def clipfrac_zero(run: History) -> Finding | None:
    """No token was ever clipped although updates take several optimizer steps: the clip has no effect."""
    clipped, moved = run.column("clipfrac"), run.level("approx_kl", 0, len(run.lines))
    updates, length = run.column("optimizer_steps"), run.level("response_length", 0, len(run.lines))
    if len(clipped) < 10 or not run.has("clipfrac") or (clipped > 0).any() or length is None:
        return None
    if not updates[-1] > 1.5 * run.last or run.batch_size * length.mean * updates[-1] < 2000:
        return None  # the first step of an update cannot be clipped
    wide = run.ppo.cliprange > 0.5 or (moved is not None and moved.mean > 1e-3)
    return Finding(
        "clipfrac_zero",
        "info",
        run.last,
        f"clipfrac 0 in all of {len(clipped)} steps" + (f", approx_kl {moved}" if moved else "")
        + f", cliprange {fmt(run.ppo.cliprange)}",
        "The clip range is wider than any update" if wide else "The updates are too timid for the clip to matter",
        "Lower ppo.cliprange (0.2 is usual)" if wide else "Raise ppo.learning_rate or ppo.num_ppo_epochs",
    )  # fmt: skip


def gradients_clipped(run: History) -> Finding | None:
    """The gradient is clipped in every minibatch, so that only its direction is left."""
    share, norm = run.level("grad_clipped", 0, len(run.lines)), run.level("grad_norm", 0, len(run.lines))
    bound = run.ppo.max_grad_norm
    if norm is None or norm.num < 5:
        return None
    always = share.mean > 0.95 if share is not None else bool((run.column("grad_norm") > bound).all())
    if not always or norm.mean < 3 * bound:
        return None
    small = norm.mean < 3 * TYPICAL_MAX_GRAD_NORM
    return Finding(
        "gradients_clipped",
        "warning",
        run.last,
        f"grad_norm {norm}" + (f", grad_clipped {share}" if share else "") + f", max_grad_norm {fmt(bound)}",
        "ppo.max_grad_norm is far below gradients of the usual size"
        if small
        else "The scale of rewards, values or loss is far above what ppo.max_grad_norm allows",
        f"Raise ppo.max_grad_norm ({TYPICAL_MAX_GRAD_NORM:.0f} is usual)"
        if small
        else "Scale the score to a spread near 1 (`weight` of its entry in `reward`, ppo.reward_scale), lower "
        "ppo.vf_coef, or raise ppo.max_grad_norm",
    )


def value_not_learning(run: History) -> Finding | None:
    """The critic explains none of the variance of the returns after enough training."""
    true, bootstrapped = (
        run.final_level("explained_variance_mc", share=1 / 3),
        run.final_level("explained_variance", share=1 / 3),
    )
    judged = true or bootstrapped
    spread, score = run.final_level("score_std"), run.final_level("score")
    if judged is None or len(run.lines) < 12 or (spread and has_no_spread(spread, score)):
        return None
    long_enough = len(run.lines) >= 30 and informative_responses(run) >= 1000
    blind = long_enough and judged.mean + judged.stderr < 0.05
    harmful = judged.mean + judged.stderr < -0.3 and run.batch_size * len(run.lines) >= 300
    if not (blind or harmful or predictions_are_frozen(run, judged)):
        return None
    clipped = run.final_level("value_clipfrac")
    return Finding(
        "value_not_learning",
        "error" if judged.mean < -0.5 else "warning",
        run.last,
        f"explained_variance {bootstrapped} (returns of GAE), {true} (rewards that followed)"
        + (f", value_clipfrac {clipped}" if clipped else ""),
        *explain_blind_critic(run, bootstrapped.mean if bootstrapped else None, clipped.mean if clipped else 0.0),
    )


def informative_responses(run: History) -> float:
    """Number of responses so far that inform the critic: twice those off the most common score, at most all."""
    most_common = np.fmax(run.column("score_top_share"), run.column("score_bottom_share"))
    return float(run.batch_size * np.minimum(1.0, 2 * (1 - np.nan_to_num(most_common))).sum())


def predictions_are_frozen(run: History, late: Level) -> bool:
    """True if the explained variance stays within 0.01 of 0: even a poor critic would vary more."""
    names = [name for name in ("explained_variance", "explained_variance_mc") if run.has(name)]
    window = slice(len(run.lines) - late.num, None)
    return all(bool((abs(run.column(name)[window]) < 0.01).all()) for name in names)


def explain_blind_critic(run: History, own: float | None, clipped: float) -> tuple[str, str]:
    """Explain a critic that predicts nothing: cause and remedy."""
    rate = run.ppo.critic_learning_rate or run.ppo.learning_rate
    if clipped > 0.3:
        return (
            f"Values may move by cliprange_value {run.ppo.cliprange_value} an update, and scores are larger than that",
            "Set ppo.cliprange_value=null, or scale the score down",
        )
    if own is not None and own > 0.2:
        return "The critic foresees its own values, not the rewards: returns of GAE hold both", "Raise ppo.lam"
    steps = f"step size {fmt(rate)}, vf_coef {fmt(run.ppo.vf_coef)}"
    remedy = (
        "Raise ppo.critic_learning_rate (lower it where explained_variance is far below 0), try ppo.critic=separate, "
        "or ppo.critic_warmup_steps; RLOO needs no critic"
    )
    return f"It learns too slowly ({steps}) or too fast, or nothing in the score can be foreseen", remedy
