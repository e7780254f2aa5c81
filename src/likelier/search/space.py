"""The search space: all combinations of values, or random ones, validated before the first trial runs."""

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from likelier.config import Config, Range, SearchConfig, build_config
from likelier.errors import ConfigError
from likelier.runs.run import MAY_CHANGE
from likelier.stages import STAGES, Stage

Values = dict[str, Any]
"""Setting (`ppo.gamma`) to value."""


def make_trials(config: Config) -> list[Values]:
    """Return the values of each trial. ConfigError: a setting that is unknown or has no effect, or an invalid value."""
    search = config.search
    if not search.space:
        raise ConfigError("search.space: give at least one field to vary, such as ppo.learning_rate: [1e-5, 3e-5]")
    for name in search.space:
        check_setting(name, STAGES[search.stage])
    trials = grid_trials(search) if search.method == "grid" else random_trials(search, config.seed)
    for values in [*range_ends(search), *trials]:
        trial_config(config, values)
    return trials


def check_setting(name: str, stage: Stage) -> None:
    """ConfigError: the stage does not read this setting, or it does not affect the result."""
    head, _, rest = name.partition(".")
    if head in ("seed", "search") or name.rpartition(".")[2] in MAY_CHANGE:
        raise ConfigError(f"search.space: {name} is not a setting to search over")
    if name == "data" and stage.folds == "conversation":
        raise ConfigError("search.space: data cannot vary: the folds are cut from it")
    known = head in Config.model_fields  # `trial_config` refuses an unknown one and names the nearest
    if known and head != stage.block and (rest or head not in stage.inputs):
        raise ConfigError(
            f"search.space: {name} does nothing in stage {stage.verb}, whose settings are {stage.block}.…"
        )


def grid_trials(search: SearchConfig) -> list[Values]:
    """All combinations; the last setting varies fastest."""
    lists = [values for values in search.space.values() if isinstance(values, list)]
    return [dict(zip(search.space, combination, strict=True)) for combination in itertools.product(*lists)]


def random_trials(search: SearchConfig, seed: int) -> list[Values]:
    """`num_trials` random combinations.

    Each value depends on seed, trial and setting alone, so a longer search starts with the trials of a shorter one.
    """
    return [
        {name: draw_value(values, random.Random(f"{seed}/{trial}/{name}")) for name, values in search.space.items()}
        for trial in range(search.num_trials)
    ]


def draw_value(values: Range | Sequence[Any], generator: random.Random) -> Any:
    """Draw one of the values, or a number in the range to four significant digits."""
    if not isinstance(values, Range):
        return generator.choice(values)
    low, high = values.low, values.high
    integer = isinstance(low, int) and isinstance(high, int)
    if integer and not values.log:
        return generator.randint(int(low), int(high))
    if values.log:
        number = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        number = generator.uniform(low, high)
    return round(number) if integer else min(max(float(f"{number:.4g}"), low), high)


def range_ends(search: SearchConfig) -> list[Values]:
    """Return both ends of every range, one setting at a time, to be validated even if no trial draws them."""
    ranges = [(name, values) for name, values in search.space.items() if isinstance(values, Range)]
    return [{name: end} for name, values in ranges for end in (values.low, values.high)]


def trial_config(config: Config, values: Mapping[str, Any]) -> Config:
    """The user's settings with a trial's values and without the search. ConfigError: a value is out of bounds."""
    overrides = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    given = config.model_dump(exclude_unset=True, exclude={"search"})  # not as JSON: it has no passwords
    return build_config(given, overrides, "search")


def user_settings(config: Config) -> dict[str, Any]:
    """The settings given by the user as JSON, without defaults and without the search."""
    return config.model_dump(mode="json", exclude_unset=True, exclude={"search"})


def format_values(values: Mapping[str, Any]) -> str:
    """Format as `ppo.gamma=0.9 ppo.lam=1`."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
