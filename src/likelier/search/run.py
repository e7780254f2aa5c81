"""Run a search: trials on folds in parallel processes, then ranking, report and best config. Resumable."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from likelier.config import Config
from likelier.errors import ConfigError, LikelierError, NumericError, Stopped
from likelier.files import read_json, write_atomically, write_json
from likelier.jobs import run_jobs
from likelier.progress import progress
from likelier.report.page import write_report
from likelier.runs.folder import is_unused, make_folder, take_lock
from likelier.runs.naming import refuse_idle_acceptance, resume_command
from likelier.runs.older import keep_former_defaults
from likelier.runs.record import compare_folder, refuse_other_verb
from likelier.runs.run import MAY_CHANGE
from likelier.runs.settings import refuse_changes
from likelier.runs.shared import train_stage
from likelier.search.folds import fold_config, make_folds
from likelier.search.ranking import Trial, rank_trials
from likelier.search.space import Values, format_values, make_trials, trial_config, user_settings
from likelier.stages import STAGES, Direction
from likelier.terminal import print_stderr


@dataclass(frozen=True)
class Job:
    """One run: one trial on one fold."""

    trial: int
    fold: int
    stage: str
    config: Config
    folder: Path
    threads: int
    accept_changes: bool = False

    @property
    def log_path(self) -> Path:
        """Path of the run's output."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def failure_path(self) -> Path:
        """Path of the recorded reason why the run failed permanently."""
        return self.folder.with_name(f"{self.folder.name}.failure.json")

    @property
    def result_path(self) -> Path:
        """Path of the run's `result.json`."""
        return self.folder / "result.json"


def run_search(
    config: Config,
    folder: Path,
    resume: str = "never",
    workers: int | None = None,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Run the unfinished trials; returns what `likelier search --json` prints.

    Writes a run into each `trial-n/fold-k` of `folder` and its output to `fold-k.log`; then `search.json`, `best.yaml`,
    and `search.html`, the report. A run that ends with an error is a failed trial.

    ConfigError, DataError: an invalid search, raised before any run. Stopped: after a signal. LikelierError: all trials
    failed.
    """
    if resume != "never":
        config = keep_former_defaults(config, folder)
    started, combinations = time.monotonic(), make_trials(config)
    workers = workers or default_workers(config)
    refuse_idle_acceptance(resume, accept_changes)
    with locked_folder(folder, config, resume, accept_changes):
        jobs = make_jobs(config, combinations, folder, accept_changes)
        failures = run_trials(jobs, config, folder, workers)
        trials = [
            collect_trial(number, values, jobs, config, failures) for number, values in enumerate(combinations, 1)
        ]
        result = write_results(folder, config, trials)
    return result | {"seconds": round(time.monotonic() - started, 1)}


def default_workers(config: Config) -> int:
    """Return the number of parallel runs: the number of CPU cores, or 1 on another device."""
    device = getattr(config, STAGES[config.search.stage].block).device
    if device != "cpu":
        from likelier.training.setup import pick_device

        device = pick_device(device).type
    return max(1, (os.cpu_count() or 1) // config.search.threads) if device == "cpu" else 1


@contextmanager
def locked_folder(folder: Path, config: Config, resume: str, accept_changes: bool = False) -> Iterator[None]:
    """Lock the folder of a search until the block ends.

    ConfigError: not empty without `resume`, started with other settings, or changed inputs without `accept_changes`.
    """
    if resume == "never" and not is_unused(folder):
        raise ConfigError(f"{folder}: not empty; give another --out, or --resume auto to go on")
    make_folder(folder)
    lock, path = take_lock(folder), folder / "config.yaml"
    try:
        resolved = config.model_dump(mode="json")
        if path.exists():
            refuse_other_verb(folder, "search")
            refuse_changes(path, resolved, "search", MAY_CHANGE | {"num_trials"})
        compare_folder(folder, "search", config, accept_changes, config.search.stage)
        write_atomically(path, lambda file: yaml.safe_dump(resolved, file, sort_keys=False, allow_unicode=True))
        yield
    finally:
        os.close(lock)


def make_jobs(config: Config, trials: Sequence[Values], folder: Path, accept_changes: bool = False) -> list[Job]:
    """Make a job for every trial and fold, in the order in which they run."""
    search = config.search
    if STAGES[search.stage].folds == "conversation":
        make_folds(config, folder / "folds")
    return [
        Job(
            trial=number,
            fold=fold,
            stage=search.stage,
            config=fold_config(trial_config(config, values), search.stage, fold, folder / "folds"),
            folder=folder / f"trial-{number}" / f"fold-{fold}",
            threads=search.threads,
            accept_changes=accept_changes,
        )
        for number, values in enumerate(trials, 1)
        for fold in range(1, search.folds + 1)
    ]


def run_trials(jobs: Sequence[Job], config: Config, folder: Path, workers: int) -> dict[Path, str]:
    """Run the jobs without result or recorded failure; returns {run folder: reason} of failures."""
    metric = search_metric(config)[0]
    remaining = [job for job in jobs if not job.result_path.exists() and not job.failure_path.exists()]
    failures = {job.folder: read_json(job.failure_path)["reason"] for job in jobs if job.failure_path.exists()}
    with progress("search", len(jobs)) as bar:
        bar.advance(len(jobs) - len(remaining))

        def report_end(job: Job, code: int) -> None:
            if job.result_path.exists():
                note = f"{metric} {read_score(job, metric)}"
            else:
                note = failures[job.folder] = failure_reason(job, code)
            bar.advance(note=f"trial {job.trial} fold {job.fold}: {note}")

        preload = [STAGES[config.search.stage].module, "torch"]
        code = run_jobs(remaining, run_one, lambda job: job.log_path, report_end, workers, preload)
    if code:
        done = sum(job.result_path.exists() for job in jobs)
        raise Stopped(f"stopped after {done} of {len(jobs)} runs", code, resume_command(folder))
    return failures


def run_one(job: Job) -> None:
    """Train in a separate process, from the newest checkpoint if there is one.

    Only failures of the numeric guard are recorded, since they are deterministic; others are retried on resume.
    """
    import torch

    torch.set_num_threads(job.threads)
    try:
        train_stage(job.stage, job.config, job.folder, "auto", job.accept_changes)
    except NumericError as error:
        write_json(job.failure_path, {"reason": str(error)})
    except LikelierError as error:
        print_stderr(f"likelier: {error}")
        sys.exit(error.exit_code)


def failure_reason(job: Job, code: int) -> str:
    """The guard's reason, the signal that killed the run, or the last line of its output."""
    if job.failure_path.exists():
        return str(read_json(job.failure_path)["reason"])
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = job.log_path.read_text(encoding="utf-8", errors="replace").splitlines() or [f"exit code {code}"]
    return lines[-1].removeprefix("likelier: ")


def search_metric(config: Config) -> tuple[str, Direction]:
    """The metric that ranks the trials, and its direction: the user's, or the stage's default."""
    search, stage = config.search, STAGES[config.search.stage]
    return (search.metric, search.direction) if search.direction else (stage.search_metric, stage.search_direction)


def read_score(job: Job, metric: str) -> float | None:
    """The metric of a finished run; None if it is null. ConfigError: the result has no such number."""
    result = read_json(job.result_path)
    try:
        value = look_up(result, metric)
    except KeyError as error:
        known = ", ".join(key for key, value in result.items() if isinstance(value, int | float))
        raise ConfigError(f"search.metric: a result of {job.stage} has no `{metric}`; it has {known}") from error
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise ConfigError(f"search.metric: {metric} is not a number, got {value!r}")
    return float(value)


def look_up(result: Mapping[str, Any], name: str) -> Any:
    """Return the value at `a.b` in nested results; a key may itself contain dots. KeyError: there is none."""
    if name in result:
        return result[name]
    head, _, rest = name.partition(".")
    below = result[head]
    if not rest or not isinstance(below, Mapping):
        raise KeyError(name)
    return look_up(below, rest)


def collect_trial(
    number: int, values: Values, jobs: Sequence[Job], config: Config, failures: Mapping[Path, str]
) -> Trial:
    """Make a trial from the scores of its runs; it failed if a run failed or a score is not finite."""
    metric = search_metric(config)[0]
    own = [job for job in jobs if job.trial == number]
    scores = [None if job.folder in failures else read_score(job, metric) for job in own]
    without = [job for job, score in zip(own, scores, strict=True) if score is None]
    reason = failures.get(without[0].folder, f"no {metric}") if without else ""
    return Trial(number, values, scores, reason)


def write_results(folder: Path, config: Config, trials: Sequence[Trial]) -> dict[str, Any]:
    """Rank the trials and write `search.json`, `best.yaml` and the report. LikelierError: all trials failed."""
    search, (metric, direction) = config.search, search_metric(config)
    table = rank_trials(trials, direction)
    best = table[0]
    if best["status"] == "failed":
        raise LikelierError(f"{folder}: all {len(trials)} trials failed; the first: {trials[0].reason}")
    write_best(folder / "best.yaml", config, best, len(table))
    header = {"stage": search.stage, "metric": metric, "direction": direction, "folds": search.folds}
    files = {"config": str(folder / "best.yaml"), "plot": str(folder / "search.html")}
    result = {"run": str(folder), **header, **files, "best": best, "trials": table}
    write_json(folder / "search.json", result)
    write_report([folder], folder / "search.html")
    return result


def write_best(path: Path, config: Config, best: Mapping[str, Any], trials: int) -> None:
    """Write the user's settings with the best values, as a config for the stage's command."""
    settings = user_settings(trial_config(config, best["values"]))
    score = f"{search_metric(config)[0]} {best['mean']:.4g} over {config.search.folds} folds"

    def write(file: Any) -> None:
        file.write(f"# The best of {trials} trials: {score} ({format_values(best['values'])}).\n")
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)

    write_atomically(path, write)
