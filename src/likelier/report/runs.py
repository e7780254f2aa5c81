"""Run folders for the report: settings, versions, training curves, judges' scores over KL, trained agents."""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from likelier.addresses import hide_secrets
from likelier.config import read_yaml
from likelier.doctor.findings.history import explain_silence
from likelier.errors import DataError
from likelier.evaluation.overoptimisation import (
    describe_in_words,
    describe_turn,
    fit_best_of_n,
    measure_overoptimisation,
)
from likelier.files import read_log, read_object
from likelier.files.json_text import truncate
from likelier.report.charts import Point, Series, is_number, line_chart
from likelier.report.languages import find_message, translate, translate_record
from likelier.runs.curve import CurvePoint, read_curve
from likelier.runs.logs import read_metrics
from likelier.stages import STAGES, Stage

JsonObject = dict[str, Any]

HELD_OUT_METRICS = {"score": "eval_score", "kl": "eval_kl", "response_length": "eval_response_length"}
"""PPO metrics on training prompts, and the same on held-out prompts."""
HELD_OUT_SHARE = 0.05
"""Of the responses held out of a reward model's training, beyond each threshold of reward/out_of_distribution.py."""
AGENT_PICTURE = "agent.gif"
AGENT_FIELDS = (
    "env_id", "steps", "seed", "mean_return", "eval_mean", "eval_std", "eval_sampled_mean", "eval_sampled_std",
    "eval_episodes", "gif_problem", "steps_per_second",
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """The contents of one run folder."""

    name: str
    """Name of the folder given to the report."""
    folder: Path
    verb: str
    lines: list[JsonObject]
    settings: list[tuple[str, Any]]
    versions: Mapping[str, str]
    result: JsonObject
    """The contents of result.json; empty until the run ends."""
    timing: list[JsonObject] = field(default_factory=list)
    """The lines of timing.jsonl."""

    @property
    def title(self) -> str:
        """The title of its stage."""
        return STAGES[self.verb].title

    @property
    def initial_evaluation(self) -> JsonObject:
        """The evaluation before the first step; empty if there is none."""
        return self.result.get("before") or {}

    @property
    def curve(self) -> list[CurvePoint]:
        """The evaluations on held-out prompts: before the first step, during training, and at the end."""
        return read_curve(self.lines, self.initial_evaluation, self.result.get("after"))

    @property
    def findings(self) -> list[JsonObject] | None:
        """The doctor's findings; None if it has not run (another stage, or a run that has not ended)."""
        return self.result.get("findings")

    @property
    def errors(self) -> list[JsonObject]:
        """The findings that are errors."""
        return [finding for finding in self.findings or () if finding["severity"] == "error"]

    @property
    def silence(self) -> str:
        """Explain what it means that the doctor found nothing."""
        return explain_silence(len(self.lines), self.result)

    @property
    def phases(self) -> list[JsonObject]:
        """Mean seconds of each phase of a step and its share of the whole, the longest first."""
        names = dict.fromkeys(name for line in self.timing for name in line if name.endswith("_seconds"))
        seconds = {name: fmean(line.get(name) or 0.0 for line in self.timing) for name in names}
        whole = sum(seconds.values()) or 1.0
        phases = [
            {"name": name.removesuffix("_seconds").replace("_", " "), "seconds": each, "share": each / whole}
            for name, each in seconds.items()
        ]
        return sorted(phases, key=lambda phase: -phase["seconds"])


def read_trainings(folder: Path, name: str) -> list[Training]:
    """Read the run in a folder, or the runs of a circle's round, all under `name`."""
    places = ["", *(stage.circle_folder for stage in STAGES.values() if stage.circle_folder)]
    return [read_training(name, run) for place in places if ((run := folder / place) / "metrics.jsonl").is_file()]


def read_training(name: str, run: Path) -> Training:
    """Read a run folder; run.json, result.json and config.yaml may be absent."""
    metadata, result = (read_object(run / file) for file in ("run.json", "result.json"))
    verb = metadata.get("verb", "ppo")
    if not isinstance(verb, str) or verb not in STAGES:
        raise DataError(f"{run / 'run.json'}: no stage is called {truncate(repr(verb))}")
    settings = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    settings = json.loads(hide_secrets(json.dumps(settings)))  # older versions wrote passwords
    return Training(
        name=name,
        folder=run,
        verb=verb,
        lines=read_metrics(run),
        settings=list(flatten_settings(settings)),
        versions=metadata.get("versions", {}),
        result=result,
        timing=read_log(run / "timing.jsonl") if (run / "timing.jsonl").is_file() else [],
    )


def describe_agent(run: Training) -> JsonObject:
    """Return an agent's final results, with its GIF as a data URL (None if there is none)."""
    picture = run.folder / AGENT_PICTURE
    data = f"data:image/gif;base64,{b64encode(picture.read_bytes()).decode()}" if picture.is_file() else None
    return {"name": run.name, "picture": data, **dict.fromkeys(AGENT_FIELDS), **run.result}


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def extract_points(lines: Iterable[JsonObject], x: str, y: str) -> list[Point]:
    """Return (x, y) of the lines in which both are numbers."""
    return [(line[x], line[y]) for line in lines if is_number(line.get(x)) and is_number(line.get(y))]


def draw_training_charts(trainings: Sequence[Training], stage: Stage) -> list[Markup]:
    """Draw one small chart per metric with a curve for each run of the stage; dots are held-out evaluations."""
    runs = [run for run in trainings if run.verb == stage.verb]
    charts = []
    for metric, title in stage.curves.items():
        series = [
            Series(name_run(run, runs), extract_points(run.lines, "step", metric), colour % 6)
            for colour, run in enumerate(runs)
        ]
        if len(runs) == 1 and metric in HELD_OUT_METRICS:
            held_out = extract_points(runs[0].lines, "step", HELD_OUT_METRICS[metric])
            series.append(Series(translate("held out"), held_out, 1, "dots"))
        charts.append(line_chart(translate(title), translate("step"), describe_unit(stage, metric), series, small=True))
    charts.append(draw_cut_share(runs))
    charts.extend(draw_doubt(runs))
    return [chart for chart in charts if chart]


def draw_cut_share(runs: Sequence[Training]) -> Markup:
    """Draw the share of responses that were cut at the length limit; empty where it was not logged."""
    series = [
        Series(
            name_run(run, runs),
            [(step, 1 - ended) for step, ended in extract_points(run.lines, "step", "ended_rate")],
            colour % 6,
        )
        for colour, run in enumerate(runs)
    ]
    title, unit = translate("Cut at the length limit"), translate("share of responses")
    return line_chart(title, translate("step"), unit, series, small=True)


def draw_doubt(runs: Sequence[Training]) -> list[Markup]:
    """Draw the disagreement of each reward model, and the shares of responses unlike those that it was trained on."""
    charts, step = [], translate("step")
    kinds = (
        ("disagreement/", translate("Disagreement"), translate("score")),
        ("high_disagreement/", translate("High disagreement"), translate("share of responses")),
        ("high_distance/", translate("Unlike the training responses"), translate("share of responses")),
    )
    for prefix, title, unit in kinds:
        series = [
            Series(f"{name_run(run, runs)}: {source}" if len(runs) > 1 else source, points, colour % 6)
            for colour, run in enumerate(runs)
            for source in dict.fromkeys(
                name.removeprefix(prefix) for line in run.lines for name in line if name.startswith(prefix)
            )
            if (points := extract_points(run.lines, "step", prefix + source))
        ]
        if series and prefix != "disagreement/":
            ends = [min(series[0].points)[0], max(series[0].points)[0]]
            series.append(Series(translate("held-out responses"), [(end, HELD_OUT_SHARE) for end in ends], 5, "guide"))
        charts.append(line_chart(title, step, unit, series, small=True))
    return charts


def name_run(run: Training, runs: Sequence[Training]) -> str:
    """Return the name of a run's curve among those of its stage."""
    return run.name if len(runs) > 1 else translate("training")


def list_differing_settings(trainings: Sequence[Training]) -> list[JsonObject]:
    """Return a table for each stage with several runs: its settings that differ, with the value of each run."""
    tables = []
    for verb in dict.fromkeys(run.verb for run in trainings):
        runs = [run for run in trainings if run.verb == verb]
        values = [dict(run.settings) for run in runs]
        names = dict.fromkeys(name for each in values for name in each)
        rows = [(name, [each.get(name) for each in values]) for name in names]
        differing = [(name, row) for name, row in rows if any(value != row[0] for value in row[1:])]
        if differing:
            tables.append({"title": STAGES[verb].title, "runs": [run.name for run in runs], "rows": differing})
    return tables


def describe_unit(stage: Stage, metric: str) -> str:
    """Return a metric's unit for its chart; empty if it only repeats the name."""
    defined = stage.find_metric(metric)
    return find_message(defined.unit).replace("^2", "²") if defined and defined.unit != metric else ""


def draw_judge_charts(trainings: Sequence[Training], evaluation: JsonObject) -> list[Markup]:
    """Draw each judge's mean score on held-out prompts over KL, and last the score that PPO is trained against.

    Curves are PPO, DPO and SFT during training; dots are best of n and the evaluation's other models.
    """
    curves = [(run, [point for point in run.curve if point.kl is not None]) for run in trainings]
    curves = [(run, curve) for run, curve in curves if len(curve) > 1]
    stages, folders = {run.verb for run, _ in curves}, {run.name for run, _ in curves}
    names = [name_curve(run, len(stages) > 1, len(folders) > 1) for run, _ in curves]
    judges = dict.fromkeys(name for _, curve in curves for point in curve for name in point.judges)
    others = evaluation.get("others", [])
    judges |= {name: None for each in others for name in each["judges"]}
    if others and not curves:
        others = [*others, {"name": translate("new model"), "kl": evaluation["kl"], "judges": evaluation["judges"]}]
    charts = []
    for judge in (*judges, None):
        series = [
            Series(name, extract_scores(curve, judge), colour % 4, "way", spans=estimate_spans(curve, judge))
            for colour, (name, (_, curve)) in enumerate(zip(names, curves, strict=True))
        ]
        series.append(
            make_best_of_n_series([(each, each["judges"].get(judge, {})) for each in evaluation.get("best_of", [])])
        )
        series.append(make_other_models_series(others, judge))
        title = translate("The score PPO is trained against")
        if judge is not None:
            title = translate("Judged by %(judge)s", judge=find_message(judge))
        x_label, y_label = translate("nats per response from the start"), translate("mean score")
        charts.append(line_chart(title, x_label, y_label, series, spacing="root"))
    return [chart for chart in charts if chart]


def describe_overoptimisation(trainings: Sequence[Training], evaluation: JsonObject) -> list[str]:
    """Return sentences on where each judge was best, where its fitted curve turns, and which policy was kept."""
    several, sentences = len(trainings) > 1, []
    for run in trainings:
        said = [describe_in_words(name, each) for name, each in measure_overoptimisation(run.curve).items()]
        said += [run.result["kept"]["in_words"]] if run.result.get("kept") else []
        sentences += [f"{run.name}: {translate_record(each)}" if several else translate_record(each) for each in said]
    for name, judge in evaluation.get("judges", {}).items():
        points = [
            (each["kl_bound"], each["judges"].get(name, {}).get("score")) for each in evaluation.get("best_of", [])
        ]
        points = [(kl, score) for kl, score in points if is_number(score) and kl]
        fit = fit_best_of_n(judge["score_a"], *zip(*points, strict=True)) if len(points) > 1 else None
        if fit:
            sentences.append(translate_record(f"{name}, best of n: {describe_turn(fit)}"))
    return sentences


def extract_scores(curve: Iterable[CurvePoint], judge: str | None) -> list[Point]:
    """Return (KL, score by a judge) of the evaluations with both; `judge` None: the score that PPO trains against."""
    pairs = ((point.kl, point.score if judge is None else point.judges.get(judge)) for point in curve)
    return [(kl, score) for kl, score in pairs if kl is not None and score is not None]


def estimate_spans(curve: Iterable[CurvePoint], judge: str | None) -> dict[Point, Point]:
    """Return the 95 % interval of the mean score at each point whose spread over responses is known."""
    spans: dict[Point, Point] = {}
    for point in curve:
        score = point.score if judge is None else point.judges.get(judge)
        std = point.score_std if judge is None else point.judge_stds.get(judge)
        if point.kl is not None and score is not None and std is not None and point.num_responses:
            margin = 1.96 * std / math.sqrt(point.num_responses)
            spans[point.kl, score] = (score - margin, score + margin)
    return spans


def name_curve(run: Training, several_stages: bool, several_folders: bool) -> str:
    """Name a run's curve after its folder, its stage, or both if both differ."""
    if not several_stages:
        return run.name
    title = find_message(run.title)
    return f"{title}{translate(', ')}{run.name}" if several_folders else title


def make_other_models_series(others: Sequence[JsonObject], judge: str | None) -> Series:
    """Return the evaluation's other models as labelled dots."""
    labels = {
        (each["kl"], each["judges"][judge]["score_b"]): str(each["name"])
        for each in others
        if judge in each["judges"] and is_number(each["kl"])
    }
    return Series(translate("other models"), list(labels), 5, "dots", labels)


def make_best_of_n_series(controls: Sequence[tuple[JsonObject, JsonObject]]) -> Series:
    """Return best of n from the initial model as dots, from (record with n and kl_bound, record with score)."""
    labels = {
        (control["kl_bound"], result["score"]): translate("best of %(n)s", n=control["n"])
        for control, result in controls
        if is_number(control["kl_bound"]) and is_number(result.get("score"))
    }
    return Series(translate("best of n from the start"), list(labels), 4, "dots", labels)
