"""Findings on the sampler: tokens that do not come from the distribution that the trainer assumes."""

import math
from typing import NamedTuple

import numpy as np

from likelier.doctor.findings.history import Finding, History, Level, Severity, fmt

ROUNDING, ROUNDING_BF16, UNSIGNED_BF16 = 1e-3, 2e-2, 5e-2
"""Nats a token by which log-probabilities of sampler and trainer may differ; in float32 they differ by 1e-5. The last
is for bfloat16 where the differences have no sign: a model of 135 million weights and 49,152 tokens had 0.027."""
OUTLIER, OUTLIER_BF16 = 0.1, 2.0
"""The same for a single token."""


class SamplingFault(NamedTuple):
    """Cause and remedy of tokens that were not sampled from the trained policy."""

    cause: str
    remedy: str


TRUNCATED_SAMPLING = SamplingFault(
    "Truncated sampling: the sampler leaves out tokens (top-k, top-p, minimum length, bans) that the trainer counts",
    "Sample from the whole distribution, or let the same truncation into every log-probability",
)
OTHER_TEMPERATURE = SamplingFault(
    "Another temperature or other weights: the sampler's distribution is not the trainer's",
    "Divide the logits by the same temperature in sampling and in every log-probability; hand the sampler the newest "
    "weights",
)
VISIBLE_PADDING = SamplingFault(
    "Padding: rows with padding get other log-probabilities than rows without",
    "Let no padding reach attention, positions or the mask: masks come from lengths, never from token ids",
)
PADDING_COUNTED = SamplingFault(
    "Padding: every response counts as long as the limit, though some have ended before",
    "Take the mask of a response from its length, up to and with the end token",
)
ROUNDED = SamplingFault(
    "The sampler rounds more coarsely than the trainer (bfloat16, other kernels), or its temperature is slightly off",
    "Keep ppo.old_logprobs at recompute, which trains on the trainer's own; with `sampler`, set ppo.importance_cap",
)


def sampler_mismatch(run: History) -> Finding | None:
    """Sampler and trainer disagree on log-probabilities, or the tokens do not follow the trainer's distribution."""
    run = run.on_policy
    fault = diagnose_sampling(run)
    if fault is None:
        return None
    gap, error = sampling_gap(run)
    severity: Severity = "warning" if fault is ROUNDED else "error"
    evidence = [f"{name} {level}" for name in DIFFERENCES if (level := run.level(name, 0, len(run.lines)))]
    if math.isfinite(gap):
        evidence.append(f"-log pi of the tokens minus entropy {fmt(gap)} ± {fmt(error)} nats a token")
    return Finding("sampler_mismatch", severity, run.last, "; ".join(evidence), *fault)


DIFFERENCES = ("sampler_difference", "sampler_difference_max", "sampler_difference_unpadded", "response_length")


def diagnose_sampling(run: History) -> SamplingFault | None:
    """The likely sampling fault; None if the tokens fit the policy.

    Looked for where no update lies between: an older policy's tokens are meant to be of another distribution.
    """
    run = run.on_policy
    rounding, outlier = (ROUNDING_BF16, OUTLIER_BF16) if run.ppo.bf16 else (ROUNDING, OUTLIER)
    everywhere, largest, unpadded, signed = (
        run.level(name, 0, len(run.lines))
        for name in ("sampler_difference", "sampler_difference_max", "sampler_difference_unpadded", "sampler_kl")
    )
    apart = everywhere is not None and (everywhere.mean > rounding or (largest is not None and largest.mean > outlier))
    gap, error = sampling_gap(run)
    misfit = math.isfinite(gap) and abs(gap) > max(0.01, 5 * error)
    # Answers that all have the limit's length, a word and the end token say, fit the policy; counted padding does not.
    if (apart or misfit) and padding_counted(run):
        return PADDING_COUNTED
    if apart and everywhere is not None:
        if unpadded is not None and unpadded.mean < 0.1 * everywhere.mean:
            return VISIBLE_PADDING
        if is_rounding(run, everywhere, largest, signed):
            return None if run.ppo.bf16 else ROUNDED
        return TRUNCATED_SAMPLING if signed is not None and signed.mean > 0.95 * everywhere.mean else OTHER_TEMPERATURE
    if misfit:
        return TRUNCATED_SAMPLING if gap < 0 else OTHER_TEMPERATURE
    return None


def is_rounding(run: History, everywhere: Level, largest: Level | None, signed: Level | None) -> bool:
    """Return True if the differences are as small as bfloat16's, without sign, and the tokens follow the policy.

    The `Sampler` protocol allows approximate log-probabilities: they are noise on a diagnostic, not another policy.
    """
    gap, error = sampling_gap(run)
    return (
        everywhere.mean <= (UNSIGNED_BF16 if run.ppo.bf16 else ROUNDING_BF16)
        and (largest is None or largest.mean <= OUTLIER_BF16)
        and (signed is not None and abs(signed.mean) < 0.5 * everywhere.mean)
        and math.isfinite(gap)
        and abs(gap) <= max(0.01, 5 * error)
    )


def padding_counted(run: History) -> bool:
    """True if responses that ended early are counted at the full length limit."""
    ended, length = run.column("ended_rate"), run.column("response_length")
    is_logged = np.isfinite(ended) & np.isfinite(length)
    if not is_logged.any() or not run.ppo.may_end:
        return False
    return bool(ended[is_logged].mean() > 0.1 and (length[is_logged] >= run.ppo.response_length).all())


def sampling_gap(run: History) -> tuple[float, float]:
    """Mean of (-log pi of the tokens - entropy) over steps and its standard error; NaN if not logged.

    For tokens drawn from pi the expectation is 0 for any pi.
    """
    gap, error = run.column("sampling_gap"), run.column("sampling_gap_error")
    is_logged = np.isfinite(gap) & np.isfinite(error)
    if not is_logged.any():
        return math.nan, math.nan
    return float(gap[is_logged].mean()), float(np.sqrt((error[is_logged] ** 2).sum()) / is_logged.sum())
