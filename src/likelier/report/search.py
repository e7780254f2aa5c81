"""The report's view of a search: ranked trials, a chart per varied field, and the best config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from likelier.report.charts import Series, extent, is_number, line_chart
from likelier.report.languages import translate

JsonObject = dict[str, Any]
NUM_TRIALS_SHOWN = 20


def make_search_view(folder: Path, search: JsonObject) -> JsonObject:
    """Return the template's additions to the record of `search.json` in `folder`."""
    trials = search["trials"]
    fields = list(search["best"]["values"])
    best = folder / "best.yaml"
    bounds = [bound for trial in trials for bound in interval_with_mean(trial)]
    low, high = extent(bounds) if bounds else (0.0, 1.0)
    return {
        "names": short_names(fields),
        "trials": [
            trial | {"bar": [(bound - low) / (high - low) for bound in interval_with_mean(trial)]} for trial in trials
        ],
        "shown": NUM_TRIALS_SHOWN,
        "charts": [draw_field_chart(field, trials, str(search["metric"])) for field in fields],
        "best_file": best,
        "settings": best.read_text(encoding="utf-8") if best.is_file() else "",
    }


def short_names(fields: Sequence[str]) -> list[str]:
    """Return the last part of each field, or full names if two of those are equal.

    >>> short_names(["ppo.learning_rate", "seed"]), short_names(["ppo.lam", "gym.lam"])
    (['learning_rate', 'seed'], ['ppo.lam', 'gym.lam'])
    """
    short = [field.rpartition(".")[2] for field in fields]
    return short if len(set(short)) == len(short) else list(fields)


def interval_with_mean(trial: JsonObject) -> list[float]:
    """Return (low, mean, high) of a trial; [] if it failed."""
    if not is_number(trial["mean"]):
        return []
    low, high = trial["interval"] or [trial["mean"]] * 2
    return [low, trial["mean"], high]


def draw_field_chart(field: str, trials: Sequence[JsonObject], metric: str) -> Markup:
    """Draw the metric over one field: a dot for each completed trial, and intervals for the best trial of each value.

    Numbers that span more than a factor of 5 have a logarithmic axis; anything but numbers is a category.
    """
    tried = [
        (trial["values"][field], interval_with_mean(trial)) for trial in trials if interval_with_mean(trial)
    ]  # best first
    numeric = all(is_number(value) and not isinstance(value, bool) for value, _ in tried)
    names = [] if numeric else list(dict.fromkeys(str(value) for value, _ in tried))
    places = [float(value if numeric else names.index(str(value))) for value, _ in tried]
    ends = [ends for _, ends in tried]
    leaders = {places.index(place): place for place in places[1:] if place != places[0]}
    series = [
        Series(
            translate("trials"), [(place, mean) for place, (_, mean, _) in zip(places, ends, strict=True)], 5, "dots"
        ),
        make_interval_series(translate("best of a value"), 0, [(place, ends[at]) for at, place in leaders.items()]),
        make_interval_series(translate("best of all"), 1, list(zip(places[:1], ends[:1], strict=True))),
    ]
    is_log = numeric and min(places, default=0.0) > 0 and max(places) > 5 * min(places)
    return line_chart(field, field, metric, series, spacing="log" if is_log else "even", names=names)


def make_interval_series(name: str, colour: int, trials: Sequence[tuple[float, list[float]]]) -> Series:
    """Return a series of dots with intervals."""
    spans = {(place, mean): (low, high) for place, (low, mean, high) in trials}
    return Series(name, list(spans), colour, "dots", spans=spans)
