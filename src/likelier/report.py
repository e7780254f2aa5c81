"""One self-contained HTML page out of run folders: it shows what stages wrote down and computes nothing anew."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from likelier.charts import Point, Series, interval_bar, is_number, line_chart, share_bar, short
from likelier.config import read_yaml
from likelier.errors import DataError
from likelier.metrics import metric_of
from likelier.records import read_json, read_jsonl, write_whole

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
}
"""Where in a folder each section's numbers stand (the first that is there counts), and the fields it must have."""
RUNS = ("", "sft", "reward", "dpo", "policy")
"""Where in a folder runs stand."""
CURVES = {
    "ppo": {
        "score": "Score",
        "kl": "KL from the start",
        "response_length": "Response length",
        "entropy": "Entropy",
        "policy_loss": "Policy loss",
        "value_loss": "Value loss",
        "clipfrac": "Clip fraction",
        "explained_variance": "Explained variance",
    },
    "gym": {
        "mean_return": "Return",
        "episode_length": "Episode length",
        "policy_loss": "Policy loss",
        "value_loss": "Value loss",
        "entropy": "Entropy",
        "approx_kl": "Approximate KL",
        "clipfrac": "Clip fraction",
        "explained_variance": "Explained variance",
    },
    "reward": {"loss": "Loss", "accuracy": "Accuracy", "margin": "Margin"},
    "dpo": {"loss": "Loss", "rewards/accuracies": "Accuracy", "rewards/margins": "Margin", "logps/chosen": "Chosen"},
    "sft": {"loss": "Loss", "mean_token_accuracy": "Token accuracy"},
}
"""Metrics drawn of each stage, in this order, with their titles."""
VERBS = {"ppo": "PPO", "gym": "Gymnasium", "reward": "Reward model", "dpo": "DPO", "sft": "SFT"}
MEASURED = {"score": "eval_score", "kl": "eval_kl", "response_length": "eval_response_length"}
"""Metrics of PPO that were also measured on prompts kept out."""
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
    def findings(self) -> list[Found] | None:
        """What the doctor found; None if it has not looked (another stage, or a run that has not ended)."""
        return self.result.get("findings")


def write_report(runs: Sequence[Path], out: Path) -> Found:
    """Write the page about `runs` (folders of a circle, of single runs, of evaluations) to `out`.

    Curves show all runs; of any other section the first folder that has it is shown.
    DataError: a folder does not exist, holds a file that no stage wrote so, or none of them holds anything to show.
    """
    found: Found = {}
    trainings: list[Training] = []
    for folder in runs:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder")
        found = read_sections(folder) | found
        trainings += read_trainings(folder)
    if not found and not trainings:
        raise DataError(f"{', '.join(map(str, runs))}: no metrics.jsonl, circle.json or evaluation.json to show")
    shown = dict.fromkeys(SECTIONS) | found
    page = environment().get_template("report.html").render(
        **shown,
        runs=trainings,
        curves=[(VERBS[verb], charts) for verb in CURVES if (charts := training_charts(trainings, verb))],
        gold=[] if shown["arms"] else gold_charts(trainings, shown["evaluation"] or {}),
        arm_charts=arm_charts(shown["arms"]),
        agents=[trained_agent(run) for run in trainings if run.verb == "gym" and run.result],
        calibration=calibration_chart(shown["reward"]),
        people=people(shown["check"]),
        flag_words=FLAGS,
        samples_shown=SAMPLES_SHOWN,
    )  # fmt: skip
    write_whole(out, lambda file: file.write(page))
    return {"file": str(out)}


def environment() -> Environment:
    """Templates with everything escaped, and filters for numbers."""
    made = Environment(
        loader=PackageLoader("likelier"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "span": span, "number": number, "duration": duration}
    made.globals |= {"share_bar": share_bar, "interval_bar": interval_bar}
    return made


def percent(value: Any) -> str:
    return f"{100 * value:.0f}\u00a0%" if is_number(value) else number(value)


def span(interval: Any) -> str:
    """An interval of shares as `79–88 %`."""
    if not isinstance(interval, list) or len(interval) != 2 or not all(map(is_number, interval)):
        return ""
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}\u00a0%"


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
        found[section] = record
    return found


def verb_of(run: Path) -> str:
    """The stage that a run says it is of; empty where it does not say."""
    about = run / "run.json"
    return str(read_json(about).get("verb", "")) if about.is_file() else ""


def read_trainings(folder: Path) -> list[Training]:
    """The runs in a folder, itself one of them perhaps."""
    return [read_training(folder.name, run) for name in RUNS if ((run := folder / name) / "metrics.jsonl").is_file()]


def read_training(name: str, run: Path) -> Training:
    about, result = (read_json(run / name) if (run / name).is_file() else {} for name in ("run.json", "result.json"))
    settings = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    return Training(
        name=name,
        folder=run,
        verb=about.get("verb", "ppo"),
        lines=[line for _, line in read_jsonl(run / "metrics.jsonl")],
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


def training_charts(trainings: Sequence[Training], verb: str) -> list[Markup]:
    """One small chart a metric, a curve for each run of this stage; dots: measured on prompts kept out."""
    runs = [run for run in trainings if run.verb == verb]
    charts = []
    for metric, title in CURVES[verb].items():
        series = [
            Series(run.name if len(runs) > 1 else "training", points(run.lines, "step", metric), colour % 6)
            for colour, run in enumerate(runs)
        ]
        if len(runs) == 1 and metric in MEASURED:
            kept_out = points(runs[0].lines, "step", MEASURED[metric])
            series.append(Series("kept out", kept_out, 1, "dots"))
        charts.append(line_chart(title, "step", unit_of(verb, metric), series, small=True))
    return [chart for chart in charts if chart]


def unit_of(verb: str, metric: str) -> str:
    """The unit beside a chart's title, where it says more than the title."""
    defined = metric_of(verb, metric)
    return defined.unit.replace("^2", "²") if defined and defined.unit != metric else ""


def gold_charts(trainings: Sequence[Training], evaluation: Found) -> list[Markup]:
    """What each judge says on prompts kept out, over KL: PPO, DPO and SFT on their way, best of n, other models.

    Last the score that PPO is trained against.
    """
    found = [(run, [{**run.before, "step": 0}, *run.lines]) for run in trainings]
    runs = [(run, lines) for run, lines in found if points(lines, "eval_kl", "eval_kl")]
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
        charts.append(line_chart(title, "nats per response from the start", "mean score", series, root=True))
    return [chart for chart in charts if chart]


def way_name(run: Training, several_stages: bool, several_folders: bool) -> str:
    """What a curve is called: by its folder, by its stage, or by both, where they differ."""
    if not several_stages:
        return run.name
    return f"{VERBS[run.verb]}, {run.name}" if several_folders else VERBS[run.verb]


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
        line_chart("What the panel truly likes", x_label, "mean true score", [*true, best_of_n(controls)], root=True),
        line_chart("What the reward model believed", x_label, "mean learned score", learned, root=True),
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
