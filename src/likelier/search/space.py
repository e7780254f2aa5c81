"""What a search tries: every combination or some drawn by chance, each checked before the first one runs."""

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
"""Field to value."""


def make_trials(config: Config) -> list[Values]:
    """The values of each trial. ConfigError, one line: a field that is unknown or decides nothing, a wrong value."""
    search = config.search
    if not search.space:
        raise ConfigError("search.space: give at least one field to vary, such as ppo.learning_rate: [1e-5, 3e-5]")
    for field in search.space:
        check_field(field, STAGES[search.stage])
    trials = grid(search) if search.method == "grid" else drawn(search, config.seed)
    for values in [*bounds(search), *trials]:
        config_with(config, values)
    return trials


def check_field(field: str, stage: Stage) -> None:
    """ConfigError: a field of another stage, or one that changes no result."""
    head, _, rest = field.partition(".")
    last = field.rpartition(".")[2]
    if head in ("seed", "search") or last in MAY_CHANGE:
        raise ConfigError(f"search.space: {field} is not a setting to search over")
    if field == "data" and stage.folds == "conversation":
        raise ConfigError("search.space: data cannot vary: the folds are cut from it")
    known = head in Config.model_fields  # an unknown field is named with the nearest one when its config is built
    if known and head != stage.block and (rest or head not in stage.inputs):
        raise ConfigError(
            f"search.space: {field} does nothing in stage {stage.verb}, whose settings are {stage.block}.…"
        )


def grid(search: SearchConfig) -> list[Values]:
    """Every combination; the last field varies fastest."""
    lists = [tried for tried in search.space.values() if isinstance(tried, list)]
    return [dict(zip(search.space, values, strict=True)) for values in itertools.product(*lists)]


def drawn(search: SearchConfig, seed: int) -> list[Values]:
    """`num_trials` combinations. Each number depends on seed, trial and field alone: a longer search begins alike."""
    return [
        {field: draw(tried, random.Random(f"{seed}/{at}/{field}")) for field, tried in search.space.items()}
        for at in range(search.num_trials)
    ]


def draw(tried: Range | Sequence[Any], chance: random.Random) -> Any:
    """One of the values, or a number of the range in four digits."""
    if not isinstance(tried, Range):
        return chance.choice(tried)
    low, high = tried.low, tried.high
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and not tried.log:
        return chance.randint(int(low), int(high))
    if tried.log:
        found = math.exp(chance.uniform(math.log(low), math.log(high)))
    else:
        found = chance.uniform(low, high)
    return round(found) if whole else min(max(float(f"{found:.4g}"), low), high)


def bounds(search: SearchConfig) -> list[Values]:
    """Both ends of every range, each alone, so that they are checked even if they are not drawn."""
    ranges = [(field, tried) for field, tried in search.space.items() if isinstance(tried, Range)]
    return [{field: end} for field, tried in ranges for end in (tried.low, tried.high)]


def config_with(config: Config, values: Mapping[str, Any]) -> Config:
    """What a user would write for one trial: their own settings with these values, and no search. ConfigError."""
    return build_config(written(config), [f"{field}={json.dumps(value)}" for field, value in values.items()], "search")


def written(config: Config) -> dict[str, Any]:
    """The settings that the user wrote, without the search."""
    return config.model_dump(mode="json", exclude_unset=True, exclude={"search"})


def in_words(values: Mapping[str, Any]) -> str:
    """`ppo.gamma=0.9 ppo.lam=1`."""
    return " ".join(f"{field}={json.dumps(value)}" for field, value in values.items())
