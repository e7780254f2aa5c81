"""What the report shows of a search: its trials, ranked, a chart of each field that was varied, the best config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from likelier.report.charts import Series, extent, is_number, line_chart

Found = dict[str, Any]
TRIALS_SHOWN = 20


def search_view(folder: Path, search: Found) -> Found:
    """What the page needs of `search.json` in `folder`."""
    trials = search["trials"]
    fields = list(search["best"]["values"])
    best = folder / "best.yaml"
    ends = [end for trial in trials for end in ends_of(trial)]
    low, high = extent(ends) if ends else (0.0, 1.0)
    return {
        "names": short_names(fields),
        "trials": [trial | {"bar": [(end - low) / (high - low) for end in ends_of(trial)]} for trial in trials],
        "shown": TRIALS_SHOWN,
        "charts": [field_chart(field, trials, str(search["metric"])) for field in fields],
        "best_file": best,
        "settings": best.read_text(encoding="utf-8") if best.is_file() else "",
    }


def short_names(fields: Sequence[str]) -> list[str]:
    """The last part of each field; whole names where two would be alike.

    >>> short_names(["ppo.learning_rate", "seed"]), short_names(["ppo.lam", "gym.lam"])
    (['learning_rate', 'seed'], ['ppo.lam', 'gym.lam'])
    """
    short = [field.rpartition(".")[2] for field in fields]
    return short if len(set(short)) == len(short) else list(fields)


def ends_of(trial: Found) -> list[float]:
    """Low end, mean, high end of a trial; nothing for one that failed."""
    if not is_number(trial["mean"]):
        return []
    low, high = trial["interval"] or [trial["mean"]] * 2
    return [low, trial["mean"], high]


def field_chart(field: str, trials: Sequence[Found], metric: str) -> Markup:
    """The metric over one field: every trial that has not failed is a dot, the best of each value has its interval.

    Numbers stand by their logarithms where they span more than a factor of 5, anything else side by side.
    """
    tried = [(trial["values"][field], ends_of(trial)) for trial in trials if ends_of(trial)]  # best first
    numeric = all(is_number(value) and not isinstance(value, bool) for value, _ in tried)
    names = [] if numeric else list(dict.fromkeys(str(value) for value, _ in tried))
    places = [float(value if numeric else names.index(str(value))) for value, _ in tried]
    ends = [ends for _, ends in tried]
    leaders = {places.index(place): place for place in places[1:] if place != places[0]}
    series = [
        Series("trials", [(place, mean) for place, (_, mean, _) in zip(places, ends, strict=True)], 5, "dots"),
        with_intervals("best of a value", 0, [(place, ends[at]) for at, place in leaders.items()]),
        with_intervals("best of all", 1, list(zip(places[:1], ends[:1], strict=True))),
    ]
    by_logarithm = numeric and min(places, default=0.0) > 0 and max(places) > 5 * min(places)
    return line_chart(field, field, metric, series, spacing="log" if by_logarithm else "even", names=names)


def with_intervals(name: str, colour: int, trials: Sequence[tuple[float, list[float]]]) -> Series:
    """Dots with upright intervals."""
    spans = {(place, mean): (low, high) for place, (low, mean, high) in trials}
    return Series(name, list(spans), colour, "dots", spans=spans)
