"""One self-contained HTML page out of run folders: it shows what stages wrote down and computes nothing anew."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from likelier.charts import Series, line_chart
from likelier.config import read_yaml
from likelier.errors import DataError
from likelier.records import read_json, read_jsonl, write_whole

Found = dict[str, Any]

CURVES = (
    ("score", "Score", "mean score of the responses"),
    ("kl", "KL", "nats per response from the start"),
    ("response_length", "Response length", "tokens"),
    ("entropy", "Entropy", "nats per token"),
    ("policy_loss", "Policy loss", "clipped loss"),
    ("value_loss", "Value loss", "squared error / 2"),
    ("clipfrac", "Clip fraction", "share of tokens"),
    ("explained_variance", "Explained variance", "share of the returns' variance"),
)
"""Metric, title and unit of the training curves, in the order shown."""
SOURCES = {
    "circle": ("circle.json",),
    "check": ("check.json",),
    "reward": ("reward.json", "reward/result.json"),
    "evaluation": ("evaluation.json", "evaluation/evaluation.json"),
    "arms": ("arms.json",),
}
"""Where in a folder each section's numbers stand; the first that is there counts."""


def write_report(runs: Sequence[Path], out: Path) -> Found:
    """Write the page about `runs` (folders of a circle, of single runs, of evaluations) to `out`.

    DataError: a folder does not exist, or none of them holds anything to show.
    """
    found: Found = {}
    for folder in runs:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder")
        found = read_folder(folder) | found
    if not found:
        raise DataError(f"{', '.join(map(str, runs))}: no metrics.jsonl, circle.json or evaluation.json to show")
    page = (
        environment()
        .get_template("report.html")
        .render(
            **dict.fromkeys([*SOURCES, "training", "settings", "versions"]) | found,
            headline=headline(found),
            before_after=before_after(found.get("evaluation")),
            curves=training_curves(found.get("training", [])),
            gold=gold_chart(found.get("training", [])),
            counterfactual=counterfactual(found.get("arms")),
            folders=[str(folder) for folder in runs],
        )
    )
    write_whole(out, lambda file: file.write(page))
    return {"file": str(out)}


def environment() -> Environment:
    """Templates with everything escaped, and filters for numbers."""
    made = Environment(loader=PackageLoader("likelier"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters |= {"percent": percent, "span": span, "number": number}
    return made


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def span(interval: Sequence[float] | None) -> str:
    """An interval of shares as `79–88 %`."""
    return "" if not interval else f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f} %"


def number(value: Any) -> str:
    """A number as a person reads it; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def read_folder(folder: Path) -> Found:
    """What one folder holds, by section."""
    found: Found = {}
    for section, names in SOURCES.items():
        there = [folder / name for name in names if (folder / name).is_file()]
        if there:
            found[section] = read_json(there[0])
    run = next((each for each in (folder, folder / "policy") if (each / "metrics.jsonl").is_file()), None)
    if run is not None:
        found |= read_run(run)
    return found


def read_run(run: Path) -> Found:
    """Metrics, settings and versions of one training."""
    found: Found = {"training": [line for _, line in read_jsonl(run / "metrics.jsonl")]}
    if (run / "config.yaml").is_file():
        found["settings"] = list(flat(read_yaml(run / "config.yaml")))
    if (run / "run.json").is_file():
        found["versions"] = read_json(run / "run.json")["versions"]
    if (run / "result.json").is_file() and "accuracy" in (result := read_json(run / "result.json")):
        found["reward"] = result
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def headline(found: Found) -> str:
    """The result in one sentence."""
    evaluation = found.get("evaluation")
    if evaluation is None:
        return "What the runs wrote down."
    sentence = (
        f"The new model’s answers are preferred in {percent(evaluation['win_rate'])} "
        f"({span(evaluation['interval'])}) of {evaluation['n']:,} comparisons on unseen prompts"
    )
    return sentence + (f", {evaluation['kl']:.1f} nats from the start." if evaluation.get("kl") is not None else ".")


def before_after(evaluation: Found | None) -> list[Found]:
    """A few prompts with the old and the new answer."""
    return list((evaluation or {}).get("samples", []))[:8]


def points(lines: Sequence[Found], x: str, y: str) -> list[tuple[float, float]]:
    return [(line[x], line[y]) for line in lines if line.get(x) is not None and line.get(y) is not None]


def training_curves(lines: Sequence[Found]) -> list[Markup]:
    """One small chart a metric, where it was logged."""
    charts = [
        line_chart(title, "step", unit, [Series(title, points(lines, "step", metric))], small=True)
        for metric, title, unit in CURVES
    ]
    return [chart for chart in charts if chart]


def gold_chart(lines: Sequence[Found]) -> Markup:
    """Score and judges on prompts kept out, over KL from the start."""
    names = {name: name.removeprefix("eval/") for line in lines for name in line if name.startswith("eval/")}
    series = [Series("trained against", points(lines, "eval_kl", "eval_score"), 0)]
    series += [Series(name, points(lines, "eval_kl", key), at) for at, (key, name) in enumerate(names.items(), 1)]
    return line_chart("On prompts kept out", "nats per response from the start", "mean score", series)


def counterfactual(arms: Found | None) -> Markup:
    """The true score of every arm over its KL, with best-of-n from the start."""
    if arms is None:
        return Markup("")
    series = [
        Series(arm["name"], [(at["kl"], at["true_score"]) for at in arm["curve"]], colour)
        for colour, arm in enumerate(arms["arms"])
    ]
    best = [(at["kl"], at["true_score"]) for at in arms.get("best_of", [])]
    series.append(Series("best of n from the start", best, len(series), dots=True))
    return line_chart("True taste over distance", "nats per response from the start", "mean true score", series)
