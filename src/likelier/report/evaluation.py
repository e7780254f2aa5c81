"""The report's view of an evaluation: its verdict, win rates by length, histograms, and samples that can be sorted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from likelier.evaluation.verdict import WORDS, assess_evaluation
from likelier.intervals import clopper_pearson
from likelier.report.charts import Series, extent, is_number, line_chart
from likelier.report.languages import translate

JsonObject = dict[str, Any]
NUM_BINS = 20
SIMILAR = 0.1
"""Responses whose lengths differ by less than this share of the old one's are about as long."""
MEASURED = {"score": ("Score", "score"), "length": ("Length", "tokens"), "kl": ("KL", "nats a response from the start")}
"""Numbers of each response in `evaluation.json`, with title and unit of their histograms."""


def make_evaluation_view(record: JsonObject) -> JsonObject:
    """Return the template's additions to an `evaluation.json`; what an older file lacks stays empty."""
    verdict, responses = assess_evaluation(record) if is_number(record["win_rate"]) else None, record.get("responses")
    return {
        "verdict_word": translate(WORDS[verdict.name]) if verdict else "",
        "verdict_name": verdict.name if verdict else "",
        "caveats": verdict.caveats if verdict else (),
        "histograms": draw_histograms(responses) if responses else [],
        "by_length": win_rates_by_length(responses["a"], responses["b"]) if responses else [],
        "sortable": sort_samples([*record.get("samples", []), *record.get("worst", [])]),
    }


def name_model(model: str) -> str:
    """Return a model's name: its run's for `RUN/model`, else its folder's or its name on the hub."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def draw_histograms(responses: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[Markup]:
    """Draw the distribution of each number of the responses, before and after."""
    charts = []
    for key, (title, unit) in MEASURED.items():
        groups = {
            name: [value for value in responses.get(side, {}).get(key, []) if value is not None]
            for name, side in (("before", "a"), ("after", "b"))
        }
        charts.append(draw_histogram(translate(title), translate(unit), groups))
    return [chart for chart in charts if chart]


def draw_histogram(title: str, unit: str, groups: Mapping[str, Sequence[float]]) -> Markup:
    """Draw the share of values in each of `NUM_BINS` bins as an outline for each group; empty without values."""
    groups = {name: values for name, values in groups.items() if values}
    if not groups:
        return Markup("")
    low, high = extent([value for values in groups.values() for value in values])
    width = (high - low) / NUM_BINS
    series = []
    for colour, (name, values) in enumerate(groups.items()):
        counts = [0] * NUM_BINS
        for value in values:
            counts[min(int((value - low) / width), NUM_BINS - 1)] += 1
        steps = [(low + (at + end) * width, counts[at] / len(values)) for at in range(NUM_BINS) for end in (0, 1)]
        outline = [(low, 0.0), *steps, (high, 0.0)]
        series.append(Series(translate(name), outline, 5 if name == "before" else colour, "outline"))
    return line_chart(title, unit, translate("share of responses"), series, small=True)


def win_rates_by_length(a: Mapping[str, Sequence[Any]], b: Mapping[str, Sequence[Any]]) -> list[JsonObject]:
    """Return how often the new response wins where it is shorter, about as long, or longer; empty without scores."""
    wins: dict[str, list[float]] = {"shorter": [], "about as long": [], "longer": []}
    rows = zip(a.get("length", ()), b.get("length", ()), a.get("score", ()), b.get("score", ()), strict=False)
    for length_a, length_b, score_a, score_b in rows:
        if score_a is None or score_b is None:
            continue
        change = (length_b - length_a) / max(length_a, 1)
        name = "shorter" if change < -SIMILAR else "longer" if change > SIMILAR else "about as long"
        wins[name].append(1.0 if score_b > score_a else 0.0 if score_b < score_a else 0.5)
    return [
        {"name": name, "n": len(won), "rate": rate, "interval": clopper_pearson(rate, len(won))}
        for name, won in wins.items()
        if won
        for rate in [sum(won) / len(won)]
    ]


def sort_samples(samples: Sequence[JsonObject]) -> list[JsonObject]:
    """Return distinct samples, each with its place when they are sorted by change of score and by change of length."""
    distinct = list({(str(each["prompt"]), each["response_a"], each["response_b"]): each for each in samples}.values())
    orders = {
        "worse": sorted(range(len(distinct)), key=lambda at: change_of_score(distinct[at])),
        "better": sorted(range(len(distinct)), key=lambda at: -change_of_score(distinct[at])),
        "longer": sorted(
            range(len(distinct)), key=lambda at: len(distinct[at]["response_a"]) - len(distinct[at]["response_b"])
        ),
    }
    return [
        each | {"places": {name: order.index(at) for name, order in orders.items()}} for at, each in enumerate(distinct)
    ]


def change_of_score(sample: Mapping[str, Any]) -> float:
    """Return by how much the score rose; 0 if it is unknown."""
    before, after = sample.get("score_a"), sample.get("score_b")
    return float(after) - float(before) if is_number(before) and is_number(after) else 0.0  # type: ignore[arg-type]
