"""The ranking of trials, with intervals over the folds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from likelier.intervals import Interval, t_interval
from likelier.search.space import Values
from likelier.stages import Direction


@dataclass(frozen=True)
class Trial:
    """The scores of one combination of values on each fold; `reason` explains a failure."""

    number: int
    values: Values
    scores: list[float | None]
    reason: str = ""

    @property
    def mean(self) -> float | None:
        """Mean over the folds; None for a failed trial."""
        return None if self.reason else float(np.mean(self.finished))

    @property
    def interval(self) -> Interval | None:
        """Student's 95% interval over the folds; None with one fold or for a failed trial."""
        return None if self.reason else t_interval(self.finished)

    @property
    def finished(self) -> list[float]:
        """The scores of the finished folds."""
        return [score for score in self.scores if score is not None]


def rank_trials(trials: Sequence[Trial], direction: Direction) -> list[dict[str, Any]]:
    """Return trials as records, best first, failed ones last; equal means are ordered by trial number.

    `behind`: difference to the best trial over the same folds (0 for the best itself), with the interval of that paired
    difference. If it contains 0, the folds cannot distinguish the two.
    """
    sign = 1 if direction == "max" else -1
    ordered = sorted(trials, key=lambda trial: (math.inf if trial.mean is None else -sign * trial.mean, trial.number))
    return [make_record(rank, trial, ordered[0], sign) for rank, trial in enumerate(ordered, 1)]


def make_record(rank: int, trial: Trial, best: Trial, sign: int) -> dict[str, Any]:
    """A trial's record in `search.json`; `sign` is 1 if large scores are good, else -1."""
    behind = None if trial.reason else sign * (np.array(best.finished) - np.array(trial.finished))
    return {
        "rank": rank,
        "trial": trial.number,
        "values": trial.values,
        "mean": trial.mean,
        "interval": trial.interval,
        "behind": None if behind is None else float(behind.mean()),
        "behind_interval": None if behind is None or trial is best else t_interval(behind),
        "scores": trial.scores,
        "status": "failed" if trial.reason else "done",
        "reason": trial.reason or None,
    }
