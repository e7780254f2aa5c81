"""`likelier search`: grid or random search over the settings of a stage, with cross-validation."""

from typing import Annotated, Any

import typer

from likelier.cli.folders import circle_folder
from likelier.cli.options import ACCEPT_CHANGES, CONFIG, OUT, OVERRIDES, RESUME, SEED
from likelier.cli.output import JSON, Result, format_value, result_command
from likelier.cli.train import load_settings
from likelier.stages import STAGES
from likelier.terminal import echo, print_table


def show(result: Result) -> None:
    """Print the trials, best first, then the paths of the best config and the report."""
    from likelier.report.search import short_names

    columns = ["rank", "trial", *short_names(list(result["best"]["values"])), result["metric"], "behind the best"]
    print_table(columns, [(trial_row(trial), False) for trial in result["trials"]], right_aligned=columns)
    for trial in result["trials"]:
        if trial["reason"]:
            echo(f"trial {trial['trial']} failed: {trial['reason']}")
    runs = "one run" if result["folds"] == 1 else f"{result['folds']} runs"
    echo(f"{runs} of each trial; ± is Student's 95% interval")
    echo(f"best config: {result['config']}\nreport: {result['plot']}")


def trial_row(trial: dict[str, Any]) -> list[str]:
    """Table cells for one trial."""
    values = [format_value(value) for value in trial["values"].values()]
    if trial["status"] == "failed":
        return [str(trial["rank"]), str(trial["trial"]), *values, "failed", "–"]
    numbers = [format_mean(trial["mean"], trial["interval"]), format_mean(trial["behind"], trial["behind_interval"])]
    return [str(trial["rank"]), str(trial["trial"]), *values, *numbers]


def format_mean(mean: float, interval: list[float] | None) -> str:
    """Format as `1.2 ± 0.3`: the mean and half the width of its interval."""
    return f"{mean:.4g}" + (f" ± {(interval[1] - interval[0]) / 2:.2g}" if interval else "")


def write_help() -> str:
    """Build the command's help, with the metric that ranks the trials of each stage."""
    verbs: dict[str, list[str]] = {}
    for stage in STAGES.values():
        verbs.setdefault(stage.search_metric, []).append(stage.verb)
    metrics = ", ".join(f"{metric} ({', '.join(names)})" for metric, names in verbs.items())
    purpose = "Look for good settings of a stage: the block `search` says what is varied."
    return f"{purpose}\n\nJudged by {metrics}, or by search.metric."


@result_command(show)
def search(  # noqa: D103 (its help is written from the table of stages)
    config: CONFIG,
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    accept_changes: ACCEPT_CHANGES = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Runs that go at once; by default as many as the CPU has cores."),
    ] = None,
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    from likelier.search.run import run_search

    settings = load_settings(config, overrides, seed)
    return run_search(settings, circle_folder(config.stem, out, resume), resume, workers, accept_changes)
