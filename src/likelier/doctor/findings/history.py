"""The `Finding` record, and the metrics of a run: columns, windows of steps, standard errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from likelier.config import Config, PPOConfig
from likelier.intervals import Floats
from likelier.runs.curve import CurvePoint, read_curve

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """A named problem of a run, with evidence, likely cause and remedy."""

    name: str
    severity: Severity
    step: int
    """The step at which it was detected."""
    evidence: str
    """Figures, with the steps they come from."""
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} ({self.severity}, step {self.step}): {self.evidence}. {self.cause}. {self.remedy}."


class Level(NamedTuple):
    """Mean and standard error of a metric over a window of steps."""

    mean: float
    stderr: float
    first: int
    last: int
    num: int

    def __str__(self) -> str:
        steps = f"step {self.last}" if self.first == self.last else f"steps {self.first} to {self.last}"
        return f"{fmt(self.mean)} in {steps}"


MIN_STEPS = 10
"""Steps below which most findings are not looked for."""


def explain_silence(num_steps: int, result: Mapping[str, Any]) -> str:
    """Return what no findings mean after so many steps: health, or that nothing could be found out.

    Of a reward run, in which only accuracy on held-out pairs is looked at, also what its result says of that.
    """
    if "verdict" in result and "in_words" in result:
        return f"No findings. {result['in_words']}"
    if num_steps >= MIN_STEPS:
        return "No findings."
    return f"No findings in {num_steps} step{'s' * (num_steps != 1)}, too few to find much out: no sign of health."


def fmt(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


@dataclass(frozen=True)
class History:
    """The lines of `metrics.jsonl` so far, the settings, and the evaluation before the first step."""

    lines: Sequence[Mapping[str, Any]]
    config: Config = field(default_factory=Config)
    before: Mapping[str, Any] = field(default_factory=dict)
    rewards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`result.json` of the run behind each reward model, by the name of its source."""

    @property
    def ppo(self) -> PPOConfig:
        """The settings of the `ppo` block."""
        return self.config.ppo

    @cached_property
    def on_policy(self) -> "History":
        """The steps whose responses were drawn by the very policy that learned from them: with `async_steps` the first
        ones of a run, else all."""
        if not self.ppo.async_steps:
            return self
        return replace(self, lines=[line for line in self.lines if not line.get("staleness")])

    @property
    def last(self) -> int:
        """The last step of the log."""
        return int(self.lines[-1]["step"])

    @cached_property
    def curve(self) -> list[CurvePoint]:
        """Return the evaluations on held-out prompts so far, starting with the initial policy."""
        return read_curve(self.lines, self.before)

    @cached_property
    def steps(self) -> Floats:
        """Step numbers of the log lines."""
        return np.array([line["step"] for line in self.lines], float)

    @cached_property
    def batch_size(self) -> float:
        """Responses per step, from the logged episode counter; the setting if that was not logged."""
        episodes = self.column("episodes")
        if not math.isfinite(episodes[-1]):
            return float(self.ppo.batch_size)
        return float(episodes[-1] / self.last)

    def column(self, name: str) -> Floats:
        """A metric at each step; NaN where it was not logged."""
        values = [line.get(name) for line in self.lines]
        numbers = [value if isinstance(value, int | float) else math.nan for value in values]
        return np.array(numbers, float)

    def has(self, name: str) -> bool:
        """True if the metric was logged at least once."""
        return bool(np.isfinite(self.column(name)).any())

    def initial_level(self, name: str) -> Level | None:
        """Level over the first tenth of the run (1 to 5 steps), before the policy has changed much."""
        return self.level(name, 0, min(5, max(1, len(self.lines) // 10)))

    def final_level(self, name: str, least: int = 3, share: float = 0.25) -> Level | None:
        """Level over the last quarter of the run (`least` to 25 steps)."""
        count = min(25, max(least, round(share * len(self.lines))))
        return self.level(name, max(0, len(self.lines) - count), len(self.lines))

    def level(self, name: str, start: int, stop: int) -> Level | None:
        """Return mean and standard error over lines `start` to `stop`; None if the metric was not logged there."""
        window = slice(start, stop)
        values, steps = self.column(name)[window], self.steps[window]
        is_logged = np.isfinite(values)
        if not is_logged.any():
            return None
        values, steps = values[is_logged], steps[is_logged]
        between = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        error = max(between, self.stderr_of_step(name, window)) / math.sqrt(len(values))
        return Level(float(values.mean()), error, int(steps[0]), int(steps[-1]), len(values))

    def stderr_of_step(self, name: str, window: slice) -> float:
        """Return the standard error of one step's mean, from the spread over responses; 0 if that was not logged."""
        spread = self.column(f"{name}_std")[window]
        spread = spread[np.isfinite(spread)]
        return float(np.sqrt(np.mean(spread**2) / self.batch_size)) if len(spread) else 0.0

    def level_over(self, name: str, window: Level) -> Level | None:
        """Return the metric's level over the steps of another level."""
        within = np.flatnonzero((self.steps >= window.first) & (self.steps <= window.last))
        return self.level(name, int(within[0]), int(within[-1]) + 1)

    def highest_level(self, name: str) -> Level | None:
        """The window (a fifth of the run, 3 to 10 steps) with the highest mean; None if the run is shorter."""
        width = min(10, max(3, len(self.lines) // 5))
        windows = [self.level(name, start, start + width) for start in range(len(self.lines) - width + 1)]
        levels = [level for level in windows if level is not None]
        return max(levels, key=lambda level: level.mean, default=None)
