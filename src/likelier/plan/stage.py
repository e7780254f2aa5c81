"""The plan of one stage, as it is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from likelier.plan.changes import Change
from likelier.plan.memory import Phase, add_parts


@dataclass(frozen=True)
class StagePlan:
    """Memory, time, tokens and cost of a stage."""

    stage: str
    phases: Sequence[Phase]
    seconds: Mapping[str, float] | None = None
    """Of an iteration, by phase; None if the machine's speed is not known."""
    steps: int | None = None
    """Iterations, or optimizer steps; None if the data are not there to count them."""
    evaluation: float = 0.0
    """Seconds of all evaluations during training."""
    tokens: int | None = None
    """Tokens that are sampled, or trained on."""
    notes: Sequence[str] = ()
    changes: Sequence[Change] = ()
    """That bring it below the machine's memory, or as far as they can; empty if it fits."""

    @property
    def peak(self) -> Phase:
        """The phase that takes most memory."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def iteration(self) -> float | None:
        """Seconds of an iteration."""
        return None if self.seconds is None else sum(self.seconds.values())

    @property
    def total(self) -> float | None:
        """Seconds of the whole stage."""
        if self.iteration is None or self.steps is None:
            return None
        return self.iteration * self.steps + self.evaluation

    def hold(self, parts: Mapping[str, int]) -> "StagePlan":
        """Return the plan with more in memory all the time."""
        return replace(self, phases=[Phase(phase.name, add_parts(phase.parts, parts)) for phase in self.phases])

    def fits(self, memory: int) -> bool:
        """True if it takes no more than this many bytes."""
        return self.peak.total <= memory

    def to_json(self, memory: int, price: float | None, count: int) -> dict[str, Any]:
        """Return the plan for `--json`; `price` is that of one GPU and hour."""
        total = self.total
        return {
            "memory": {
                "peak_bytes": self.peak.total,
                "phase": self.peak.name,
                "parts": dict(self.peak.parts),
                "phases": {phase.name: phase.total for phase in self.phases},
            },
            "fits": self.fits(memory),
            "iteration_seconds": self.iteration,
            "phase_seconds": None if self.seconds is None else dict(self.seconds),
            "steps": self.steps,
            "seconds": total,
            "tokens": self.tokens,
            "cost": None if total is None or price is None else total / 3600 * price * count,
            "changes": [vars(change) for change in self.changes],
            "notes": list(self.notes),
        }
