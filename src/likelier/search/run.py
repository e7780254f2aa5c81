"""A search from its settings to a ranked table, a picture and the best config; killed anywhere, it goes on."""

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

from likelier.config import Config, read_yaml
from likelier.errors import ConfigError, LikelierError, NumericError, Stopped
from likelier.files import read_json, write_json, write_whole
from likelier.jobs import run_jobs
from likelier.progress import progress
from likelier.report.page import write_report
from likelier.runs.folder import is_unused, make_folder, take_lock
from likelier.runs.run import MAY_CHANGE, Run, differences, resume_command
from likelier.search.folds import config_of_fold, make_folds
from likelier.search.ranking import Trial, ranked
from likelier.search.space import Values, config_with, in_words, make_trials, written
from likelier.stages import STAGES, Direction


@dataclass(frozen=True)
class Job:
    """One run: a trial on one fold."""

    trial: int
    fold: int
    stage: str
    config: Config
    folder: Path
    threads: int

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def failure(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.failure.json")

    @property
    def result(self) -> Path:
        return self.folder / "result.json"


def run_search(config: Config, folder: Path, resume: str = "never", workers: int | None = None) -> dict[str, Any]:
    """Run what is not done yet; returns what `likelier search --json` prints.

    `folder` then holds a run in each `trial-n/fold-k`, beside what it printed (`fold-k.log`); `search.json`;
    `best.yaml`; and `search.html`, the report. A run that ends with an error is a failed trial.

    ConfigError, DataError: a wrong search, before anything runs. Stopped: after a signal. LikelierError: all trials
    failed.
    """
    began, trials = time.monotonic(), make_trials(config)
    workers = workers or usual_workers(config)
    with held(folder, config, resume):
        jobs = make_jobs(config, trials, folder)
        reasons = run_all(jobs, config, folder, workers)
        found = [trial_of(at, values, jobs, config, reasons) for at, values in enumerate(trials, 1)]
        result = finish(folder, config, found)
    return result | {"seconds": round(time.monotonic() - began, 1)}


def usual_workers(config: Config) -> int:
    """As many runs at once as the CPU has cores for; one where they share another device."""
    device = getattr(config, STAGES[config.search.stage].block).device
    if device != "cpu":
        from likelier.training.setup import pick_device

        device = pick_device(device).type
    return max(1, (os.cpu_count() or 1) // config.search.threads) if device == "cpu" else 1


@contextmanager
def held(folder: Path, config: Config, resume: str) -> Iterator[None]:
    """The folder, for this process alone. ConfigError: not empty without `resume`, or made by another search."""
    if resume == "never" and not is_unused(folder):
        raise ConfigError(f"{folder}: not empty; give another --out, or --resume auto to go on")
    make_folder(folder)
    lock, path = take_lock(folder), folder / "config.yaml"
    try:
        resolved = config.model_dump(mode="json")
        if path.exists():
            for field, old, new in differences(read_yaml(path), resolved):
                if field.rpartition(".")[2] not in MAY_CHANGE | {"num_trials"}:
                    raise ConfigError(
                        f"{path}: this search was started with {field}={old!r}, not {new!r}; use another --out"
                    )
        write_whole(path, lambda file: yaml.safe_dump(resolved, file, sort_keys=False, allow_unicode=True))
        yield
    finally:
        os.close(lock)


def make_jobs(config: Config, trials: Sequence[Values], folder: Path) -> list[Job]:
    """Every trial on every fold, in the order in which they run."""
    search = config.search
    if STAGES[search.stage].folds == "conversation":
        make_folds(config, folder / "folds")
    return [
        Job(
            trial=number,
            fold=fold,
            stage=search.stage,
            config=config_of_fold(config_with(config, values), search.stage, fold, folder / "folds"),
            folder=folder / f"trial-{number}" / f"fold-{fold}",
            threads=search.threads,
        )
        for number, values in enumerate(trials, 1)
        for fold in range(1, search.folds + 1)
    ]


def run_all(jobs: Sequence[Job], config: Config, folder: Path, workers: int) -> dict[Path, str]:
    """Run the jobs that have neither result nor lasting failure; returns why some failed, by their folders."""
    name = metric_of(config)[0]
    left = [job for job in jobs if not job.result.exists() and not job.failure.exists()]
    reasons = {job.folder: read_json(job.failure)["reason"] for job in jobs if job.failure.exists()}
    with progress("search", len(jobs)) as bar:
        bar.advance(len(jobs) - len(left))

        def ended(job: Job, code: int) -> None:
            if job.result.exists():
                note = f"{name} {score_of(job, name)}"
            else:
                note = reasons[job.folder] = why(job, code)
            bar.advance(note=f"trial {job.trial} fold {job.fold}: {note}")

        preload = [STAGES[config.search.stage].module, "torch"]
        code = run_jobs(left, run_one, lambda job: job.log, ended, workers, preload)
    if code:
        done = sum(job.result.exists() for job in jobs)
        raise Stopped(f"stopped after {done} of {len(jobs)} runs", code, resume_command(folder))
    return reasons


def run_one(job: Job) -> None:
    """Train in a process of its own, from its newest checkpoint if there is one.

    Only a stop by the numeric guard is written down: it would come again, other failures are tried again on resuming.
    """
    import torch

    torch.set_num_threads(job.threads)
    try:
        with Run(job.folder, job.stage, job.config, "auto") as run:
            STAGES[job.stage].load_trainer()(job.config, run)
    except NumericError as error:
        write_json(job.failure, {"reason": str(error)})
    except LikelierError as error:
        print(f"likelier: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def why(job: Job, code: int) -> str:
    """Why a run has no result."""
    if job.failure.exists():
        return str(read_json(job.failure)["reason"])
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() or [f"exit code {code}"]
    return lines[-1].removeprefix("likelier: ")


def metric_of(config: Config) -> tuple[str, Direction]:
    search, stage = config.search, STAGES[config.search.stage]
    return (search.metric, search.direction) if search.direction else (stage.search_metric, stage.search_direction)


def score_of(job: Job, name: str) -> float | None:
    """The metric of a run that is done; None where it is null. ConfigError: its result has no such number."""
    result = read_json(job.result)
    try:
        value = look_up(result, name)
    except KeyError as error:
        known = ", ".join(key for key, value in result.items() if isinstance(value, int | float))
        raise ConfigError(f"search.metric: a result of {job.stage} has no `{name}`; it has {known}") from error
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise ConfigError(f"search.metric: {name} is not a number, got {value!r}")
    return float(value)


def look_up(result: Mapping[str, Any], name: str) -> Any:
    """`a.b` of nested results; a key may itself hold dots. KeyError."""
    if name in result:
        return result[name]
    head, _, rest = name.partition(".")
    below = result[head]
    if not rest or not isinstance(below, Mapping):
        raise KeyError(name)
    return look_up(below, rest)


def trial_of(number: int, values: Values, jobs: Sequence[Job], config: Config, reasons: Mapping[Path, str]) -> Trial:
    """What a trial gave. It has failed if one of its runs has, or gave no finite number."""
    name = metric_of(config)[0]
    own = [job for job in jobs if job.trial == number]
    scores = [None if job.folder in reasons else score_of(job, name) for job in own]
    failed = [reasons.get(job.folder, f"no {name}") for job, score in zip(own, scores, strict=True) if score is None]
    return Trial(number, values, scores, failed[0] if failed else "")


def finish(folder: Path, config: Config, trials: Sequence[Trial]) -> dict[str, Any]:
    """Rank, draw, and write down what was found."""
    search, (name, direction) = config.search, metric_of(config)
    table = ranked(trials, direction)
    best = table[0]
    if best["status"] == "failed":
        raise LikelierError(f"{folder}: all {len(trials)} trials failed; the first: {trials[0].reason}")
    write_best(folder / "best.yaml", config, best, len(table))
    about = {"stage": search.stage, "metric": name, "direction": direction, "folds": search.folds}
    files = {"config": str(folder / "best.yaml"), "plot": str(folder / "search.html")}
    result = {"run": str(folder), **about, **files, "best": best, "trials": table}
    write_json(folder / "search.json", result)
    write_report([folder], folder / "search.html")
    return result


def write_best(path: Path, config: Config, best: Mapping[str, Any], trials: int) -> None:
    """The user's settings with the best values, ready for the stage's verb."""
    search, (name, _) = config.search, metric_of(config)
    settings = written(config_with(config, best["values"]))
    where = f"{best['mean']:.4g} over {search.folds} folds ({in_words(best['values'])})"
    about = f"# The best of {trials} trials: {name} {where}.\n"

    def write(file: Any) -> None:
        file.write(about)
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)

    write_whole(path, write)
