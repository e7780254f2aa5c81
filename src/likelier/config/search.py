"""Settings of a hyperparameter search."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from likelier.config.base import Block, Positive
from likelier.stages import StageName


class Range(Block):
    """The range that a random search samples from."""

    low: int | Annotated[float, Field(allow_inf_nan=False)]
    """Smallest number. Where both ends are written as whole numbers, only whole numbers are drawn."""
    high: int | Annotated[float, Field(allow_inf_nan=False)]
    """Largest number."""
    log: bool = False
    """Draw evenly by the logarithm: as often between 0.1 and 1 as between 1 and 10."""

    @model_validator(mode="after")
    def check_bounds(self) -> Self:
        """Validate low < high, and low > 0 on a log scale."""
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log, got {self.low}")
        return self


SearchValues = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(
        lambda value: {list: "values", dict: "range", Range: "range"}.get(type(value)),
        custom_error_type="tried",
        custom_error_message="Input should be a list of values, or for random search {low: …, high: …}",
    ),
]


class SearchConfig(Block):
    """Hyperparameter search for one stage."""

    stage: StageName = "ppo"
    """What a trial trains."""
    method: Literal["grid", "random"] = "grid"
    """Every combination of the values, or combinations drawn by chance."""
    space: dict[str, SearchValues] = {}
    """Field to the values tried: `ppo.gamma: [0.9, 1]`, or for random search `{low: 0.9, high: 1.0, log: false}`."""
    num_trials: Positive = 16
    """Combinations that a random search draws."""
    folds: Positive = 3
    """Runs of each trial: on other conversations if the stage learns from preferences, else with another seed."""
    metric: str = ""
    """Key of the stage's `result.json`, such as `after.eval_kl`; empty: its usual one (`likelier search --help`)."""
    direction: Literal["min", "max"] | None = None
    """Whether a small or a large metric is good; needed with `metric`."""
    threads: Positive = 1
    """Threads that each run computes with. They decide the last bits of a result; how many runs go at once does not."""

    @model_validator(mode="after")
    def check_metric_and_space(self) -> Self:
        """Validate that metric and direction come together, and that a grid has no ranges."""
        if bool(self.metric) != bool(self.direction):
            raise ValueError("metric and direction go together: say whether a small or a large one is good (min, max)")
        ranges = [field for field, values in self.space.items() if isinstance(values, Range)]
        if self.method == "grid" and ranges:
            raise ValueError(f"space: {ranges[0]} is a range; a grid needs a list of values, or take method: random")
        return self
