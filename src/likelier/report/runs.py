"""What runs left behind, for the report: settings, versions, curves of training, judges over distance, agents."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from likelier.config import read_yaml
from likelier.files import read_json, read_log
from likelier.report.charts import Point, Series, is_number, line_chart
from likelier.stages import STAGES, Stage

Found = dict[str, Any]

MEASURED = {"score": "eval_score", "kl": "eval_kl", "response_length": "eval_response_length"}
"""Metrics of PPO that were also measured on prompts kept out."""
AGENT_PICTURE = "agent.gif"
AGENT_FIELDS = (
    "env_id", "steps", "seed", "mean_return", "eval_mean", "eval_std", "eval_sampled_mean", "eval_sampled_std",
    "eval_episodes", "gif_problem", "steps_per_second",
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """What one run left behind."""

    name: str
    """Of the folder that was given."""
    folder: Path
    verb: str
    lines: list[Found]
    settings: list[tuple[str, Any]]
    versions: Mapping[str, str]
    result: Found
    """What the run found at its end; empty where it has not ended."""

    @property
    def before(self) -> Found:
        """What was measured before the first step."""
        return self.result.get("before") or {}

    @property
    def on_its_way(self) -> list[Found]:
        """What was measured before the first step, along the way, and at the end."""
        return [{**self.before, "step": 0}, *self.lines, self.result.get("after") or {}]

    @property
    def findings(self) -> list[Found] | None:
        """What the doctor found; None if it has not looked (another stage, or a run that has not ended)."""
        return self.result.get("findings")


def read_trainings(folder: Path, name: str) -> list[Training]:
    """The run in a folder, or those of a circle's round, all under the folder's name."""
    places = ["", *(stage.circle_folder for stage in STAGES.values() if stage.circle_folder)]
    return [read_training(name, run) for place in places if ((run := folder / place) / "metrics.jsonl").is_file()]


def read_training(name: str, run: Path) -> Training:
    about, result = (read_json(run / name) if (run / name).is_file() else {} for name in ("run.json", "result.json"))
    settings = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    return Training(
        name=name,
        folder=run,
        verb=about.get("verb", "ppo"),
        lines=read_log(run / "metrics.jsonl"),
        settings=list(flat(settings)),
        versions=about.get("versions", {}),
        result=result,
    )


def trained_agent(run: Training) -> Found:
    """How an agent did at its end, and the moving picture of it as an address that holds the whole picture."""
    picture = run.folder / AGENT_PICTURE
    data = f"data:image/gif;base64,{b64encode(picture.read_bytes()).decode()}" if picture.is_file() else None
    return {"name": run.name, "picture": data, **dict.fromkeys(AGENT_FIELDS), **run.result}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def points(lines: Iterable[Found], x: str, y: str) -> list[Point]:
    """Where both were written down, as numbers."""
    return [(line[x], line[y]) for line in lines if is_number(line.get(x)) and is_number(line.get(y))]


def training_charts(trainings: Sequence[Training], stage: Stage) -> list[Markup]:
    """One small chart a metric, a curve for each run of this stage; dots: measured on prompts kept out."""
    runs = [run for run in trainings if run.verb == stage.verb]
    charts = []
    for metric, title in stage.curves.items():
        series = [
            Series(run.name if len(runs) > 1 else "training", points(run.lines, "step", metric), colour % 6)
            for colour, run in enumerate(runs)
        ]
        if len(runs) == 1 and metric in MEASURED:
            kept_out = points(runs[0].lines, "step", MEASURED[metric])
            series.append(Series("kept out", kept_out, 1, "dots"))
        charts.append(line_chart(title, "step", unit_of(stage, metric), series, small=True))
    return [chart for chart in charts if chart]


def unit_of(stage: Stage, metric: str) -> str:
    """The unit beside a chart's title, where it says more than the title."""
    defined = stage.find_metric(metric)
    return defined.unit.replace("^2", "²") if defined and defined.unit != metric else ""


def gold_charts(trainings: Sequence[Training], evaluation: Found) -> list[Markup]:
    """What each judge says on prompts kept out, over KL: PPO, DPO and SFT on their way, best of n, other models.

    Last the score that PPO is trained against.
    """
    found = [(run, run.on_its_way) for run in trainings]
    runs = [(run, lines) for run, lines in found if len(points(lines, "eval_kl", "eval_kl")) > 1]
    stages, folders = {run.verb for run, _ in runs}, {run.name for run, _ in runs}
    names = [way_name(run, len(stages) > 1, len(folders) > 1) for run, _ in runs]
    judges = dict.fromkeys(name for _, lines in runs for line in lines for name in line if name.startswith("eval/"))
    others = evaluation.get("others", [])
    judges |= {f"eval/{name}": None for each in others for name in each["judges"]}
    if others and not runs:
        others = [*others, {"name": "new model", "kl": evaluation["kl"], "judges": evaluation["judges"]}]
    charts = []
    for metric in (*judges, "eval_score"):
        judge = metric.removeprefix("eval/")
        series = [
            Series(name, points(lines, "eval_kl", metric), colour % 4, "way")
            for colour, (name, (_, lines)) in enumerate(zip(names, runs, strict=True))
        ]
        series.append(best_of_n([(each, each["judges"].get(judge, {})) for each in evaluation.get("best_of", [])]))
        series.append(other_models(others, judge))
        title = "The score PPO is trained against" if metric == "eval_score" else f"Judged by {judge}"
        charts.append(line_chart(title, "nats per response from the start", "mean score", series, spacing="root"))
    return [chart for chart in charts if chart]


def way_name(run: Training, several_stages: bool, several_folders: bool) -> str:
    """What a curve is called: by its folder, by its stage, or by both, where they differ."""
    if not several_stages:
        return run.name
    title = STAGES[run.verb].title
    return f"{title}, {run.name}" if several_folders else title


def other_models(others: Sequence[Found], judge: str) -> Series:
    """Models that the evaluation put on the same prompts, as labelled dots."""
    labels = {
        (each["kl"], each["judges"][judge]["score_b"]): str(each["name"])
        for each in others
        if judge in each["judges"] and is_number(each["kl"])
    }
    return Series("other models", list(labels), 5, "dots", labels)


def best_of_n(controls: Sequence[tuple[Found, Found]]) -> Series:
    """Best of n from the start as dots; each is (n and its KL, its score)."""
    labels = {
        (about["kl_bound"], found["score"]): f"best of {about['n']}"
        for about, found in controls
        if is_number(about["kl_bound"]) and is_number(found.get("score"))
    }
    return Series("best of n from the start", list(labels), 4, "dots", labels)
