"""The curve of score over KL: a run's evaluations on its held-out prompts, from before its first step on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation of the policy. A number that was not measured, or was not finite, is None or absent."""

    step: int
    kl: float | None
    """Nats per response from the start."""
    score: float | None
    """Mean of the score that is trained against."""
    judges: Mapping[str, float] = field(default_factory=dict)
    """Mean of each judge that is not trained against, by name."""
    score_std: float | None = None
    judge_stds: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations over the responses."""
    correlations: Mapping[str, float] = field(default_factory=dict)
    """Of the score with each judge over the responses."""
    num_responses: int | None = None


def read_curve(
    lines: Iterable[Mapping[str, Any]], before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
) -> list[CurvePoint]:
    """The evaluations among the lines of `metrics.jsonl`, between those before the first step and after the last."""
    logged = [line for line in lines if any(name.startswith("eval") for name in line)]
    start = [{**before, "step": 0}] if before else []
    end = [{**after, "step": logged[-1]["step"] if logged else 0}] if after else []
    return [make_point(line) for line in start + logged + end]


class Peak(NamedTuple):
    """Where a judge liked the policy best, and where training ended."""

    best: CurvePoint
    last: CurvePoint


def find_peak(curve: Sequence[CurvePoint], judge: str) -> Peak | None:
    """Return the first evaluation with a judge's highest mean, and its last one; None if it judged fewer than two."""
    judged = [point for point in curve if judge in point.judges]
    return Peak(max(judged, key=lambda point: point.judges[judge]), judged[-1]) if len(judged) > 1 else None


def make_point(line: Mapping[str, Any]) -> CurvePoint:
    """The evaluation in one line of `metrics.jsonl`."""
    responses = number(line.get("eval_responses"))
    return CurvePoint(
        step=int(line["step"]),
        kl=number(line.get("eval_kl")),
        score=number(line.get("eval_score")),
        judges=numbers_below(line, "eval/"),
        score_std=number(line.get("eval_score_std")),
        judge_stds=numbers_below(line, "eval_std/"),
        correlations=numbers_below(line, "eval_correlation/"),
        num_responses=None if responses is None else int(responses),
    )


def numbers_below(line: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the numbers under keys that begin with `prefix`, keyed by the rest of the key."""
    below = {key.removeprefix(prefix): number(value) for key, value in line.items() if key.startswith(prefix)}
    return {name: value for name, value in below.items() if value is not None}


def number(value: Any) -> float | None:
    """Return the value if it is a finite number, else None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
