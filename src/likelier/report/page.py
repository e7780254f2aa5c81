"""One self-contained HTML page out of run folders: it shows what stages wrote down and computes nothing anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from likelier.errors import DataError
from likelier.files import read_json, write_whole
from likelier.report.charts import Series, interval_bar, is_number, line_chart, share_bar, short
from likelier.report.runs import (
    Training,
    best_of_n,
    gold_charts,
    points,
    read_trainings,
    trained_agent,
    training_charts,
)
from likelier.report.search import search_view
from likelier.stages import STAGES

Found = dict[str, Any]

SECTIONS = {
    "circle": (("circle.json",), ("stages",)),
    "check": (("check.json",), ("comparisons", "judgements", "annotators", "alpha", "alpha_interval")),
    "reward": (("reward/result.json", "result.json"), ("accuracy", "accuracy_interval", "log_loss")),
    "evaluation": (
        ("evaluation/evaluation.json", "evaluation.json"),
        ("win_rate", "interval", "ties", "n", "score_a", "score_b", "kl"),
    ),
    "arms": (("arms.json",), ("arms", "start_score", "sentence")),
    "search": (("search.json",), ("stage", "metric", "direction", "folds", "best", "trials")),
}
"""Where in a folder each section's numbers stand (the first that is there counts), and the fields it must have."""
UNHELD = "no KL penalty"
SAME_SCORE = ("check on", UNHELD)
"""Arms of the demo that share a reward model, so that its scores can be compared."""
FLAGS = {
    "random": "answers as if by chance",
    "left": "takes the left side, whatever stands there",
    "right": "takes the right side, whatever stands there",
    "longer": "takes the longer answer",
    "shorter": "takes the shorter answer",
    "fast": "answers faster than one can read",
    "reversed": "picks what the others reject",
    "too_many_ties": "calls a tie what the others can tell apart",
}
SAMPLES_SHOWN = 4


def write_report(runs: Sequence[Path], out: Path) -> Found:
    """Write the page about `runs` (folders of a circle, of single runs, of evaluations, of a search) to `out`.

    Curves show all runs; of any other section the first folder that has it is shown, of a circle its last round.
    DataError: a folder does not exist, holds a file that no stage wrote so, or none of them holds anything to show.
    """
    found: Found = {}
    trainings: list[Training] = []
    shown = [last_round(folder) for folder in runs]
    for folder, name in zip(shown, distinct_names(shown), strict=True):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder")
        sections, own = read_sections(folder), read_trainings(folder, name)
        if not sections and not own:
            raise DataError(nothing_in(folder))
        found = sections | found
        trainings += own
    found, latest_first = dict.fromkeys(SECTIONS) | found, reversed(list(STAGES.values()))
    page = environment().get_template("report.html").render(
        **found,
        runs=trainings,
        curves=[(stage.title, charts) for stage in latest_first if (charts := training_charts(trainings, stage))],
        gold=[] if found["arms"] else gold_charts(trainings, found["evaluation"] or {}),
        arm_charts=arm_charts(found["arms"]),
        agents=[trained_agent(run) for run in trainings if "env_id" in run.result],
        calibration=calibration_chart(found["reward"]),
        people=people(found["check"]),
        flag_words=FLAGS,
        samples_shown=SAMPLES_SHOWN,
    )  # fmt: skip
    write_whole(out, lambda file: file.write(page))
    return {"file": str(out)}


def last_round(folder: Path) -> Path:
    """Of a circle's folder the newest round that is done, or else the newest; any other folder itself."""
    rounds = [each for each in folder.glob("round-*") if each.name.removeprefix("round-").isdecimal()]
    return max(
        rounds,
        key=lambda each: ((each / "circle.json").is_file(), int(each.name.removeprefix("round-"))),
        default=folder,
    )


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """What folders are called on the page: by their last part, or in full where two would be alike."""
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def nothing_in(folder: Path) -> str:
    """Why there is no page about a folder."""
    if any(folder.glob("trial-*")):
        return f"{folder}: this search has not ended; go on with its command and --resume auto --out {folder}"
    return f"{folder}: no metrics.jsonl, circle.json, evaluation.json or search.json to show"


def environment() -> Environment:
    """Templates with everything escaped, and filters for numbers."""
    made = Environment(
        loader=PackageLoader("likelier.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "span": span, "reach": reach, "number": number, "duration": duration}
    made.globals |= {"share_bar": share_bar, "interval_bar": interval_bar}
    return made


def percent(value: Any) -> str:
    return f"{100 * value:.0f}\u00a0%" if is_number(value) else number(value)


def span(interval: Any) -> str:
    """An interval of shares as `79–88 %`."""
    if not isinstance(interval, list) or len(interval) != 2 or not all(map(is_number, interval)):
        return ""
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}\u00a0%"


def reach(interval: Any) -> str:
    """An interval of numbers as `1.2 to 3.4`."""
    return " to ".join(map(number, interval)) if isinstance(interval, list) else ""


def number(value: Any) -> str:
    """A number as a person reads it; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, float) and is_number(value):
        return short(float(f"{value:.3g}"))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def duration(seconds: Any) -> str:
    """
    >>> duration(221.4)
    '3 min 41 s'
    """
    if not is_number(seconds):
        return number(seconds)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def read_sections(folder: Path) -> Found:
    """What one folder holds, by section. DataError: a field is missing."""
    found: Found = {}
    for section, (names, needed) in SECTIONS.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            continue
        record = read_json(path)
        if path.name == "result.json" and ("accuracy" not in record or verb_of(path.parent) not in ("", "reward")):
            continue  # another stage's result
        if missing := [field for field in needed if field not in record]:
            raise DataError(f"{path}: no field `{missing[0]}`; let the stage that writes this file write it anew")
        found[section] = record | search_view(folder, record) if section == "search" else record
    return found


def verb_of(run: Path) -> str:
    """The stage that a run says it is of; empty where it does not say."""
    about = run / "run.json"
    return str(read_json(about).get("verb", "")) if about.is_file() else ""


def arm_charts(arms: Found | None) -> list[Markup]:
    """The true score of every arm over its KL with best of n, and what the reward model thought meanwhile."""
    if arms is None:
        return []
    curves = [(arm["name"], colour % 4, arm["curve"]) for colour, arm in enumerate(arms["arms"])]
    true = [Series(name, points(curve, "kl", "true_score"), at, "way") for name, at, curve in curves]
    true = [mark_turn(series) if series.name == UNHELD else series for series in true]
    controls = [({"n": at["n"], "kl_bound": at["kl"]}, {"score": at["true_score"]}) for at in arms.get("best_of", [])]
    learned = [
        Series(name, points(curve, "kl", "score"), at, "way") for name, at, curve in curves if name in SAME_SCORE
    ]
    x_label = "nats per response from the start (square-root scale)"
    return [
        line_chart(
            "What the panel truly likes", x_label, "mean true score", [*true, best_of_n(controls)], spacing="root"
        ),
        line_chart("What the reward model believed", x_label, "mean learned score", learned, spacing="root"),
    ]


def mark_turn(series: Series) -> Series:
    """A curve that ends clearly below its peak, with the peak marked."""
    values = [y for _, y in series.points]
    if not values or max(values) - values[-1] < 0.1 * (max(values) - min(values)):
        return series
    peak = max(series.points, key=lambda point: point[1])
    return Series(series.name, series.points, series.colour, series.style, {peak: "turns down"})


def calibration_chart(reward: Found | None) -> Markup:
    """How often the pairs of each predicted chance went the predicted way."""
    bins = points((reward or {}).get("calibration", []), "expected", "observed")
    if not bins:
        return Markup("")
    least = 0.5 if min(map(min, bins)) >= 0.5 else 0.0
    series = [Series("perfect", [(least, least), (1, 1)], 5, "guide"), Series("reward model", bins)]
    return line_chart("Calibration", "predicted share", "share observed", series, small=True)


def people(check: Found | None) -> Found:
    """Who was planted, flagged, missed, and flagged without cause; nobody planted: only who was flagged."""
    if check is None:
        return {}
    flagged = [person["id"] for person in check["annotators"] if person["flags"]]
    planted = check.get("planted") or []
    return {
        "flagged": flagged,
        "planted": planted,
        "missed": [name for name in planted if name not in flagged],
        "wronged": [name for name in flagged if name not in planted] if planted else [],
    }
