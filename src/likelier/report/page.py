"""One self-contained HTML page from run folders; it shows what the stages wrote and recomputes nothing."""

import re
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup

from likelier import __version__
from likelier.errors import DataError
from likelier.files import dump_line, read_object, write_atomically
from likelier.files.outputs import GENERATOR_MARK
from likelier.report.charts import Series, format_short, interval_bar, is_number, line_chart, share_bar
from likelier.report.compared import make_compared_view
from likelier.report.evaluation import make_evaluation_view, name_model
from likelier.report.languages import (
    LANGUAGES,
    find_message,
    find_plural,
    get_language,
    translate,
    translate_record,
    use_language,
)
from likelier.report.runs import (
    Training,
    describe_agent,
    describe_overoptimisation,
    draw_judge_charts,
    draw_training_charts,
    extract_points,
    list_differing_settings,
    make_best_of_n_series,
    read_trainings,
)
from likelier.report.search import make_search_view
from likelier.runs.logs import FAULTS, explain_fault, faults_as_data_errors
from likelier.runs.record import read_verb
from likelier.stages import STAGES

JsonObject = dict[str, Any]
LONGEST_COLUMN = 400
"""Characters shown of one value."""

SECTIONS = {
    "circle": (("circle.json",), ("stages",)),
    "check": (("check.json",), ("comparisons", "judgements", "annotators", "alpha", "alpha_interval")),
    "reward": (("reward/result.json", "result.json"), ("accuracy", "accuracy_interval", "log_loss")),
    "explained": (("reward/explain.json", "explain.json"), ("in_words",)),
    "evaluation": (
        ("evaluation/evaluation.json", "evaluation.json"),
        ("win_rate", "interval", "ties", "n", "score_a", "score_b", "kl"),
    ),
    "arms": (("arms.json",), ("arms", "start_score", "sentence")),
    "search": (("search.json",), ("stage", "metric", "direction", "folds", "best", "trials")),
}
"""By section: the files that may hold its record (the first that exists counts), and its required fields."""
UNPENALISED_ARM = "no KL penalty"
SHARED_SCORE_ARMS = ("check on", UNPENALISED_ARM)
"""Arms of the demo that share a reward model, so that their scores are comparable."""
FLAG_DESCRIPTIONS = {
    "random": "answers at random",
    "left": "picks the left side regardless of content",
    "right": "picks the right side regardless of content",
    "longer": "picks the longer answer",
    "shorter": "picks the shorter answer",
    "fast": "answers faster than one can read",
    "reversed": "picks what the others reject",
    "too_many_ties": "says tie where others see a difference",
    "style": "follows a style, such as lists or bold words, beyond its worth",
    "inconsistent": "answers otherwise when asked the same again",
    "drifting": "judges otherwise at the end than at the beginning",
    "copied": "agrees with somebody as if one copied the other",
    "gold": "misses questions whose answer is known",
}
SAMPLES_SHOWN = 4
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def write_report(
    runs: Sequence[Path],
    out: Path,
    db: str | None = None,
    language: str = LANGUAGES[0],
    project: str | None = None,
) -> JsonObject:
    """Write the page about `runs` (folders of a circle, of single runs, of evaluations, of a search) to `out`.

    Curves show all runs; any other section shows the first folder that has it, and a circle its last round. `db` adds
    comparisons of a project of a feedback database; media files that are too large for the page are written beside it.
    DataError: a folder does not exist, has nothing to show, or holds a file that is damaged or lacks required fields.
    """
    with use_language(language):
        page, private = make_page(runs, out, db, project)
    write_atomically(out, lambda file: file.write(page), private=private)
    return {"file": str(out)}


def make_page(runs: Sequence[Path], out: Path, db: str | None, project: str | None) -> tuple[str, bool]:
    """Return the page as `write_report` writes it, and if it names annotators. DataError: see there."""
    sections: JsonObject = {}
    trainings: list[Training] = []
    folders = [find_last_round(folder) for folder in runs]
    for folder, name in zip(folders, make_distinct_names(folders), strict=True):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder")
        own_sections, own_trainings = read_sections(folder), read_trainings(folder, name)
        if not own_sections and not own_trainings:
            raise DataError(explain_empty(folder))
        sections = own_sections | sections
        trainings += own_trainings
    compared = make_compared_view(db, out, project) if db else None
    try:
        page = render_page(sections, trainings, folders, compared)
    except (*FAULTS, UndefinedError) as error:
        raise explain_fault(find_damaged(folders, trainings), error) from error
    return page, bool(db or sections.get("check"))


def render_page(
    found: JsonObject, trainings: Sequence[Training], folders: Sequence[Path], compared: JsonObject | None = None
) -> str:
    """Render the page of the sections that were found. FAULTS, UndefinedError: a record is not as a stage writes it."""
    sections = dict.fromkeys(SECTIONS) | found
    if sections["evaluation"]:
        sections["evaluation"] = sections["evaluation"] | make_evaluation_view(sections["evaluation"])
    latest_first = list(STAGES.values())[::-1]
    return make_environment().get_template("report.html").render(
        **sections,
        generator=Markup(f'{GENERATOR_MARK} {__version__}">'),
        language=get_language(),
        runs=trainings,
        curves=[(stage.title, charts) for stage in latest_first if (charts := draw_training_charts(trainings, stage))],
        judge_charts=[] if sections["arms"] else draw_judge_charts(trainings, sections["evaluation"] or {}),
        turns=describe_overoptimisation(trainings, sections["evaluation"] or {}),
        arm_charts=draw_arm_charts(sections["arms"]),
        agents=[describe_agent(run) for run in trainings if "env_id" in run.result],
        calibration=draw_calibration(sections["reward"]),
        people=summarise_flags(sections["check"]),
        flag_words=FLAG_DESCRIPTIONS,
        compared=compared,
        samples_shown=SAMPLES_SHOWN,
        subject=describe_subject(sections["evaluation"], trainings),
        date=find_date(folders),
        differing=list_differing_settings(trainings),
    )  # fmt: skip


def find_damaged(folders: Sequence[Path], trainings: Sequence[Training]) -> str:
    """Return the file or the run that cannot be shown alone; all folders if only their combination cannot."""
    for folder in folders:
        for section, record in read_sections(folder).items():
            if not can_render({section: record}, []):
                return str(find_section_file(folder, section))
    damaged = (run.folder for run in trainings if not can_render({}, [run]))
    return str(next(damaged, ", ".join(map(str, folders))))


def can_render(sections: JsonObject, trainings: Sequence[Training]) -> bool:
    """True if a page of these alone can be rendered."""
    try:
        render_page(sections, trainings, [])
    except (*FAULTS, UndefinedError):
        return False
    return True


def describe_subject(evaluation: JsonObject | None, trainings: Sequence[Training]) -> str:
    """Return the names of the models that the page is about; empty if none is known."""
    if evaluation and evaluation.get("model_a") and evaluation.get("model_b"):
        new, old = (name_model(str(evaluation[model])) for model in ("model_b", "model_a"))
        return translate("%(new)s against %(old)s", new=new, old=old)
    starts = dict.fromkeys(str(dict(run.settings).get("model") or "") for run in trainings)
    return translate(", ").join(name_model(start) for start in starts if start)


def find_date(folders: Sequence[Path]) -> str:
    """Return the day of the newest record in the folders, in English as `29 November 2026`; empty without any."""
    names = ("*.json", "*/*.json", "metrics.jsonl", "*/metrics.jsonl")
    times = [path.stat().st_mtime for folder in folders for name in names for path in folder.glob(name)]
    if not times:
        return ""
    day = time.localtime(max(times))
    month = translate(MONTHS[day.tm_mon - 1])
    return translate("%(day)s %(month)s %(year)s", day=day.tm_mday, month=month, year=day.tm_year)


def list_contents(main: Markup) -> list[tuple[str, str]]:
    """Return id and title of each section of the page."""
    headings = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', main, re.DOTALL)
    return [
        (name, Markup(re.sub(r"<small>.*?</small>", "", title, flags=re.DOTALL)).striptags())
        for name, title in headings
    ]


def find_last_round(folder: Path) -> Path:
    """Return the newest finished round of a circle's folder, else its newest round; any other folder itself."""
    rounds = [each for each in folder.glob("round-*") if each.name.removeprefix("round-").isdecimal()]
    return max(
        rounds,
        key=lambda each: ((each / "circle.json").is_file(), int(each.name.removeprefix("round-"))),
        default=folder,
    )


def make_distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' last parts, or their full paths if two of those are equal."""
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def explain_empty(folder: Path) -> str:
    """Return the message for a folder with nothing to show."""
    if any(folder.glob("trial-*")):
        return f"{folder}: this search has not ended; go on with its command and --resume auto --out {folder}"
    return f"{folder}: no metrics.jsonl, circle.json, evaluation.json or search.json to show"


@cache
def make_environment() -> Environment:
    """Make the template environment: everything is escaped; filters format numbers, `_` and `trans` translate."""
    templates = Environment(
        loader=PackageLoader("likelier.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    templates.policies["ext.i18n.trimmed"] = True
    templates.install_gettext_callables(find_message, find_plural, newstyle=True)  # type: ignore[attr-defined]
    templates.filters |= {"word": find_message, "record": translate_record}
    templates.filters |= {"percent": percent, "span": span, "reach": reach, "number": number, "duration": duration}
    templates.filters |= {"column": column, "contents": list_contents}
    templates.globals |= {"share_bar": share_bar, "interval_bar": interval_bar}
    return templates


def percent(value: Any) -> str:
    """Format a share as `84 %`."""
    return f"{100 * value:.0f}\u00a0%" if is_number(value) else number(value)


def span(interval: Any) -> str:
    """Format an interval of shares as `79–88 %`; empty if the value is not an interval."""
    if not isinstance(interval, list) or len(interval) != 2 or not all(map(is_number, interval)):
        return ""
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}\u00a0%"


def reach(interval: Any) -> str:
    """Format an interval of numbers as `1.2 to 3.4`; empty if the value is not an interval."""
    return translate(" to ").join(map(number, interval)) if isinstance(interval, list) else ""


def number(value: Any) -> str:
    """Format a number with three digits; None as a dash, anything else as text."""
    if value is None:
        return "–"
    if isinstance(value, float) and is_number(value):
        return format_short(float(f"{value:.3g}"))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def column(value: Any) -> str:
    """Format the value of a prompt's column: text as it is, a number by `number`, the rest as JSON; truncated."""
    text = dump_line(value) if isinstance(value, list | dict | bool) else number(value)
    return text if len(text) <= LONGEST_COLUMN else text[:LONGEST_COLUMN] + " …"


def duration(seconds: Any) -> str:
    """Format seconds as minutes and seconds.

    >>> duration(221.4)
    '3 min 41 s'
    """
    if not is_number(seconds):
        return number(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes:
        return translate("%(minutes)s min %(seconds)s s", minutes=minutes, seconds=rest)
    return translate("%(seconds)s s", seconds=rest)


def read_sections(folder: Path) -> JsonObject:
    """Return a folder's records by section. DataError: a field is missing."""
    sections: JsonObject = {}
    for section, (_, required) in SECTIONS.items():
        if (path := find_section_file(folder, section)) is None:
            continue
        record = read_object(path)
        if path.name == "result.json" and ("accuracy" not in record or read_verb(path.parent) not in ("", "reward")):
            continue  # another stage's result
        if missing := [field for field in required if field not in record]:
            raise DataError(f"{path}: no field `{missing[0]}`; let the stage that writes this file write it anew")
        with faults_as_data_errors(str(path)):
            sections[section] = record | make_search_view(folder, record) if section == "search" else record
    return sections


def find_section_file(folder: Path, section: str) -> Path | None:
    """Return the file of a section's record in a folder; None if there is none."""
    return next((folder / name for name in SECTIONS[section][0] if (folder / name).is_file()), None)


def draw_arm_charts(arms: JsonObject | None) -> list[Markup]:
    """Draw every arm's true score over its KL, with best of n; and the reward model's scores."""
    if arms is None:
        return []
    curves = [(arm["name"], colour % 4, arm["curve"]) for colour, arm in enumerate(arms["arms"])]
    true = []
    for name, colour, curve in curves:
        series = Series(find_message(name), extract_points(curve, "kl", "true_score"), colour, "way")
        true.append(mark_turning_point(series) if name == UNPENALISED_ARM else series)
    controls = [
        ({"n": each["n"], "kl_bound": each["kl"]}, {"score": each["true_score"]}) for each in arms.get("best_of", [])
    ]
    learned = [
        Series(find_message(name), extract_points(curve, "kl", "score"), colour, "way")
        for name, colour, curve in curves
        if name in SHARED_SCORE_ARMS
    ]
    true.append(make_best_of_n_series(controls))
    x_label = translate("nats per response from the start (square-root scale)")
    return [
        line_chart(translate(title), x_label, translate(y_label), series, spacing="root")
        for title, y_label, series in (
            ("True score", "mean true score", true),
            ("Learned score", "mean learned score", learned),
        )
    ]


def mark_turning_point(series: Series) -> Series:
    """Label the peak of a curve that ends clearly below it (by a tenth of its range); else return it unchanged."""
    values = [y for _, y in series.points]
    if not values or max(values) - values[-1] < 0.1 * (max(values) - min(values)):
        return series
    peak = max(series.points, key=lambda point: point[1])
    return Series(series.name, series.points, series.colour, series.style, {peak: translate("turns down")})


def draw_calibration(reward: JsonObject | None) -> Markup:
    """Draw the observed frequency of each bin of predicted probabilities; empty without bins."""
    bins = extract_points((reward or {}).get("calibration", []), "expected", "observed")
    if not bins:
        return Markup("")
    low = 0.5 if min(map(min, bins)) >= 0.5 else 0.0
    series = [
        Series(translate("perfect"), [(low, low), (1, 1)], 5, "guide"),
        Series(translate("reward model"), bins),
    ]
    if scaled := extract_points((reward or {}).get("calibration_at_temperature", []), "expected", "observed"):
        temperature = f"{(reward or {}).get('temperature') or 1.0:.2f}"
        series.append(Series(translate("at temperature %(temperature)s", temperature=temperature), scaled, 1))
    x_label, y_label = translate("predicted probability"), translate("observed frequency")
    return line_chart(translate("Calibration"), x_label, y_label, series, small=True)


def summarise_flags(check: JsonObject | None) -> JsonObject:
    """List the annotators that were flagged, planted, missed and wrongly flagged; the last only if any were planted."""
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
