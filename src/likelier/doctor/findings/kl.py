"""Findings on the KL from the reference policy."""

import math

import numpy as np

from likelier.config import PPOConfig
from likelier.doctor.findings.history import Finding, History, Level, Severity, fmt
from likelier.doctor.findings.sampling import PADDING_COUNTED, SamplingFault, diagnose_sampling, padding_counted
from likelier.doctor.findings.settings import explain_misplaced_penalty

UNKNOWN_FAULT = SamplingFault(
    "The tokens are not sampled from the policy that is measured: another temperature, truncated sampling, padding",
    "Compare the sampler's log-probabilities with the trainer's (sampler_difference), with and without padding",
)
ADAPTER_STEP = 1e-4
"""From here on a step size is one for adapters, or for small models from scratch."""
OTHER_REFERENCE = SamplingFault(
    "The reference is not the policy's start: padding, positions, temperature or weights differ between the two passes",
    "Give both passes the same tokens, masks and temperature, and the reference the weights of the policy's start",
)
ROUNDED_REFERENCE = SamplingFault(
    "The reference is stored in fewer bytes than the policy (ppo.model_dtype), and is another model by the rounding",
    "Leave out ppo.model_dtype where the whole policy is trained, or train an adapter (ppo.lora_rank)",
)
ESTIMATOR_NOISE = SamplingFault(
    "One-sample noise of k1: the KL is smaller than the chance error of a batch, and its true value may be above 0",
    "Nothing need be done; a larger ppo.batch_size measures it better",
)


def kl_negative(run: History) -> Finding | None:
    """A mean KL below 0, which is impossible: tokens from another distribution, or estimator noise."""
    if (apart := nonzero_first_kl(run)) is not None and apart.mean < 0:
        fault = diagnose_sampling(run) or explain_reference(run)
        return Finding("kl_negative", "error", run.last, f"kl {apart} nats, before anything was learned", *fault)
    low = find_lowest_window(run)
    if low is not None and low.mean < min(-0.01, -4 * low.stderr):
        # A KL that cannot be is a misfit by itself: with it, lengths that are all the limit's are counted padding.
        fault = diagnose_sampling(run) or (PADDING_COUNTED if padding_counted(run) else UNKNOWN_FAULT)
        return Finding("kl_negative", "error", run.last, f"kl {low} nats, ± {fmt(low.stderr)}", *fault)
    late = run.final_level("kl", least=8, share=0.5)
    if late is None or late.num < 8:
        return None
    window = run.column("kl")[-late.num :]
    if np.mean(window < 0) < 0.4 or window.min() > -0.05 or late.mean > 2 * late.stderr:
        return None
    evidence = f"kl {late} nats, ± {fmt(late.stderr)}; below 0 in {int((window < 0).sum())} of {late.num} steps"
    return Finding("kl_negative", "info", run.last, evidence, *ESTIMATOR_NOISE)


def nonzero_first_kl(run: History) -> Level | None:
    """The KL of step 1 if it is not 0, although policy and reference are equal there."""
    first = run.level("kl", 0, 1)
    if run.ppo.reference:  # another model than the start
        return None
    if first is None or first.first != 1 or abs(first.mean) < max(0.01, 2 * first.stderr):
        return None
    return first


def explain_reference(run: History) -> SamplingFault:
    """Say why a reference is not the policy's start."""
    is_rounded = run.ppo.lora_rank is None and run.ppo.model_dtype not in (None, "float32")
    return ROUNDED_REFERENCE if is_rounded else OTHER_REFERENCE


def find_lowest_window(run: History) -> Level | None:
    """Return the window of 3 to 10 steps with the lowest mean KL."""
    width = min(10, max(3, len(run.lines) // 5))
    windows = [run.level("kl", start, start + width) for start in range(len(run.lines) - width + 1)]
    return min((level for level in windows if level), key=lambda level: level.mean, default=None)


def kl_explodes(run: History) -> Finding | None:
    """The KL is higher than the gain in score can justify."""
    if (apart := nonzero_first_kl(run)) is not None and apart.mean > 0:
        said = f"kl {apart} nats, before anything was learned"
        return Finding("kl_explodes", "error", run.last, said, *explain_reference(run))
    leap = find_first_leap(run)
    high, length, update = run.highest_level("kl"), run.final_level("response_length"), run.highest_level("approx_kl")
    high = high or leap
    if high is None or length is None:
        return None
    a_token, target = high.mean / max(1.0, length.mean), run.ppo.kl_target
    is_high = high.mean > max(20.0, 2 * (target or 0.0)) and a_token > 0.4
    unpaid = high.mean > 3 and a_token > 0.5 and penalty_exceeds_gain(run)
    jumps = high.mean > 2 and update is not None and update.mean > 0.2
    missed = target is not None and len(run.lines) >= 10 and high.mean > 2.5 * target
    if not (is_high or unpaid or jumps or missed or leap):
        return None
    evidence = [f"the first update alone led to kl {leap}"] if leap else []
    evidence += [
        f"kl {high} nats a response",
        f"{fmt(a_token)} a token",
        f"kl_coef {fmt(run.ppo.kl_coef)}",
    ]
    if target is not None:
        evidence.append(f"kl_target {fmt(target)}")
    evidence += [f"{name} {level}" for name in ("approx_kl", "clipfrac") if (level := run.highest_level(name))]
    missed_only = missed and not (is_high or unpaid or jumps or leap)
    too_fast = jumps or leap is not None or (update is not None and update.mean > 0.1)
    foreseen = median_until(run, high, "explained_variance_mc")
    if misled := foreseen < -0.3:
        evidence.append(f"explained_variance_mc {fmt(foreseen)} (median up to step {high.last})")
    severity: Severity = "error" if high.mean > 30 or unpaid else "warning"
    return Finding(
        "kl_explodes", severity, run.last, "; ".join(evidence), *explain_high_kl(run, too_fast, missed_only, misled)
    )


def find_first_leap(run: History) -> Level | None:
    """Return the KL behind the first update if that alone led further than a whole run should: more than 4 nats.

    Of 301 runs that were at hand six had more, and each of them went on to 16 nats or far beyond.
    """
    start, behind = run.level("kl", 0, 1), run.level("kl", 1, 2)
    if run.ppo.reference or start is None or behind is None or (start.first, behind.first) != (1, 2):
        return None
    return behind if abs(start.mean) < 0.1 and behind.mean > max(4.0, 3 * behind.stderr) else None


def explain_high_kl(run: History, too_fast: bool, missed: bool, misled: bool) -> tuple[str, str]:
    """Explain a KL that is too high: cause and remedy."""
    ppo = run.ppo
    start, late = run.initial_level("entropy"), run.final_level("entropy")
    if ppo.entropy_coef and start is not None and late is not None and late.mean > 1.5 * start.mean:
        return (
            f"The entropy bonus drives the policy to tokens at random (entropy {start}, {late} nats a token)",
            f"Lower ppo.entropy_coef {fmt(ppo.entropy_coef)}",
        )
    slower = ask_for_smaller_steps(ppo)
    if ppo.kl_coef == 0 and ppo.loss is None:
        also = ("; the steps are large, too", f". {slower}") if too_fast else ("", "")
        return f"Nothing holds the policy: ppo.kl_coef is 0{also[0]}", f"Raise ppo.kl_coef{also[1]}"
    if too_fast:
        cold = f"; at ppo.temperature {fmt(ppo.temperature)} they reach {fmt(1 / ppo.temperature)} times as far"
        return (
            f"The steps are too large: each update leaves the policy that sampled{cold if ppo.temperature < 1 else ''}",
            slower,
        )
    if missed:
        prices = f"{fmt(ppo.kl_coef)}, now {run.final_level('kl_coef', least=1, share=0)}"
        return (
            f"The controller does not keep the KL near ppo.kl_target (kl_coef was {prices})"
            + (f"; does the loss of {ppo.loss} use it?" if ppo.loss else ""),
            "Raise ppo.kl_coef, lower ppo.kl_horizon so that it reacts faster, or ask for a KL of a few nats",
        )
    if (shrunk := weight_decay_share(run)) > 0.05:
        return f"Weight decay has taken {100 * shrunk:.0f} % off the weights", "Lower ppo.weight_decay"
    if ppo.loss is not None and not misled:
        return (
            f"The loss of {ppo.loss} does not hold the policy near the reference at kl_coef {fmt(ppo.kl_coef)}",
            "Raise ppo.kl_coef if the loss uses it; `likelier prove --loss` shows where the loss leads",
        )
    if misplaced := explain_misplaced_penalty(ppo):
        return (
            f"The penalty is not the KL: {misplaced.partition(': ')[2].partition('. ')[0]}",
            "Set ppo.kl_estimator=k1 and ppo.kl_place=reward",
        )
    if ppo.loss is None and not penalty_exceeds_gain(run):
        return (
            "Nothing holds the policy: a nat of KL costs less than the score gains by it",
            "Raise ppo.kl_coef, or set ppo.kl_target to a few nats",
        )
    if misled:
        return (
            "The critic misleads the policy: what it foresees is further from the truth than no forecast",
            "Lower ppo.critic_learning_rate or ppo.vf_coef, set ppo.critic_warmup_steps, or take ppo.algorithm=rloo",
        )
    return (
        "Noise drives the policy: it goes where neither the score nor the KL penalty gains",
        "Lower ppo.learning_rate, use larger batches, or a score with less noise",
    )


def ask_for_smaller_steps(ppo: PPOConfig) -> str:
    """Return the remedy for steps that are too large."""
    remedy = "Lower ppo.learning_rate or ppo.num_ppo_epochs, or set ppo.target_kl"
    if ppo.lora_rank is None and ppo.learning_rate >= ADAPTER_STEP:
        remedy += f" ({fmt(ppo.learning_rate)} is a step size for adapters; whole pretrained models take 1e-6 to 1e-5)"
    return remedy


def median_until(run: History, high: Level, name: str) -> float:
    """Median of a metric up to the last step of `high`; NaN if it was not logged."""
    values = run.column(name)[run.steps <= high.last]
    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def weight_decay_share(run: History) -> float:
    """Share of the weights removed by AdamW's weight decay: 1 - exp(-decay * sum of learning rates)."""
    rates, steps = run.column("learning_rate"), np.diff(run.column("optimizer_steps"), prepend=0)
    return float(-np.expm1(-run.ppo.weight_decay * np.nansum(rates * steps)))


def penalty_exceeds_gain(run: History) -> bool:
    """True if score minus KL penalty fell below its start, or if there is no penalty at all."""
    if run.ppo.kl_coef == 0 and run.ppo.loss is None:
        return True
    start, late = run.initial_level("reward"), run.final_level("reward")
    if start is None or late is None:
        return False
    return late.mean + 3 * late.stderr < start.mean - 3 * start.stderr
