"""A run folder: what one training writes, and how it is resumed after a kill.

`config.yaml`, `run.json`, `metrics.jsonl`, `samples.jsonl` and `tokens.jsonl` (a function of config, seed and data:
byte-equal after a resume), `timing.jsonl` (not so), `checkpoint-<step>/`, `latest`, `result.json`, `model/`.
"""

import contextlib
import errno
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import yaml

from likelier.config import Config, PPOConfig
from likelier.config.base import PageConfig
from likelier.errors import ConfigError, DataError, LikelierError, Stopped, exit_code
from likelier.files import dump_line, read_log, write_atomically, write_json
from likelier.runs.checkpoints import (
    find_damage,
    find_newest_checkpoint,
    list_checkpoints,
    list_newer_checkpoints,
    parse_step,
    read_checkpoint_record,
    read_log_sizes,
    set_aside,
    write_checkpoint,
)
from likelier.runs.folder import disk_error, is_unused, make_folder, remove_created, take_lock
from likelier.runs.inputs import hash_downloads
from likelier.runs.naming import refuse_idle_acceptance, resume_command
from likelier.runs.record import (
    RECORD,
    check_changes,
    extend_changes,
    make_record,
    read_record,
    read_run_json,
    refuse_other_verb,
    select_changes,
)
from likelier.runs.settings import refuse_changes
from likelier.stages import STAGES
from likelier.terminal import print_stderr
from likelier.trackers import Tracker, open_trackers

LOGS = ("metrics.jsonl", "samples.jsonl", "timing.jsonl")
TOKEN_LOG = "tokens.jsonl"
"""Written where `token_records` is set."""
MAY_CHANGE = {"save_steps", "save_total_limit", "report_to", "run_name", "anyway", "token_records", "shard"}
MAY_CHANGE |= set(PageConfig.model_fields)
"""Settings without influence on the result, which a resumed run may change."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk."""


ALARM: signal.Signals | None = getattr(signal, "SIGALRM", None)
"""Windows has no alarms, and needs none: there SIGTERM from outside ends a process at once, without a handler."""
SECONDS_TO_SAVE = 30
"""Time after SIGTERM in which a run may finish its step and save."""


class Run:
    """One training in one folder; a context manager around the loop.

    `checkpoint` is the folder to continue from (None at the start) and `start` its step. A stage calls `log` after each
    step and then `end_step`, which saves where that is due and stops there after a signal.
    """

    def __init__(
        self, folder: Path, verb: str, config: Config, resume: str = "never", accept_changes: bool = False
    ) -> None:
        """ConfigError: the folder is in use, not empty without `resume`, or was made with other settings, by another
        command, or from inputs that have changed since and `accept_changes` does not allow."""
        refuse_idle_acceptance(resume, accept_changes)
        self.folder, self.verb, self.config, self.accept_changes = folder, verb, config, accept_changes
        block = getattr(config, STAGES[verb].block)
        self.save_steps, self.save_total_limit = block.save_steps, block.save_total_limit
        self.report_to, self.run_name = block.report_to, block.run_name
        self.writes_tokens = isinstance(block, PPOConfig) and block.token_records > 0
        self.signal_received: int | None = None
        self.is_new = is_unused(folder)
        if resume == "never" and not self.is_new:
            raise ConfigError(f"{folder}: not empty; give another --out, or --resume auto to go on")
        self.created_folders = make_folder(folder)
        with contextlib.ExitStack() as lock:
            lock.callback(os.close, take_lock(folder))
            try:
                self.prepare(resume)
            except (LikelierError, OSError) as error:
                self.remove_if_unused()
                if isinstance(error, OSError):
                    raise disk_error(folder, error) from error
                raise
            self.lock = lock.pop_all()

    def prepare(self, resume: str) -> None:
        """Find the checkpoint to continue from, and bring settings, logs and trackers to its step.

        All that can be refused is refused before the folder changes.
        """
        refuse_other_verb(self.folder, self.verb)
        for leftover in (*self.folder.glob("tmp-*"), *self.folder.glob(".*.tmp")):  # of a process that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        self.checkpoint = self.find_checkpoint(resume)
        self.start = parse_step(self.checkpoint) if self.checkpoint else 0
        self.check_settings()
        changes = self.check_record()
        sizes = self.check_logs()
        self.write_settings(changes)
        set_aside(list_newer_checkpoints(self.folder, self.start))
        self.cut_logs(sizes)
        self.trackers: list[Tracker] = open_trackers(self.report_to, self.folder, self.run_name, self.resolved())
        self.replay_metrics()

    def find_checkpoint(self, resume: str) -> Path | None:
        """Return the checkpoint that `resume` asks for; None to start anew."""
        if resume == "never":
            return None
        if resume == "auto":
            return find_newest_checkpoint(self.folder)
        if Path(resume).resolve() == self.folder.resolve():
            if newest := find_newest_checkpoint(self.folder):
                return newest
            raise DataError(
                f"{resume}: cannot resume: it has no checkpoint; `--out {resume} --resume auto` starts a run there"
            )
        if reason := find_damage(Path(resume)):
            raise DataError(f"{resume}: cannot resume: {reason}")
        return Path(resume)

    def resolved(self) -> dict[str, Any]:
        """Return all settings as JSON, defaults included."""
        return self.config.model_dump(mode="json")

    def check_settings(self) -> None:
        """ConfigError: the run that is resumed was started with other settings."""
        path = self.folder / "config.yaml"
        if self.checkpoint and path.exists():
            refuse_changes(path, self.resolved(), "run", MAY_CHANGE)

    def check_record(self) -> list[dict[str, Any]]:
        """Record the inputs as they are now, and return what has changed since the checkpoint.

        ConfigError: a checkpoint of another run, or changes that are not accepted.
        """
        recorded = read_record(self.folder)
        if self.checkpoint is None:
            self.record = make_record(self.verb, self.config, recorded.run_id if recorded else None)
            return []
        if self.checkpoint.resolve().parent != self.folder.resolve():
            raise ConfigError(
                f"{self.checkpoint}: not a checkpoint of {self.folder}; leave out --out to resume it in its own folder"
            )
        before = read_checkpoint_record(self.checkpoint)
        if before and recorded and recorded.run_id != before.run_id:
            raise ConfigError(
                f"{self.checkpoint}: a checkpoint of another run ({before.run_id[:8]}); {self.folder} is "
                f"{recorded.run_id[:8]}; resume it in its own folder"
            )
        known = before or recorded
        self.record = make_record(self.verb, self.config, known.run_id if known else None)
        accepted = select_changes(read_run_json(self.folder).get("changes"), self.start)
        return check_changes(str(self.checkpoint), before, self.record, self.verb, self.accept_changes, accepted)

    def check_logs(self) -> dict[str, int]:
        """Return how long each log was at the checkpoint. DataError: one is shorter now, so that lines are missing."""
        sizes = read_log_sizes(self.checkpoint) if self.checkpoint else {}
        for name, size in sizes.items():
            path = self.folder / name
            if (length := path.stat().st_size if path.is_file() else 0) < size:
                raise DataError(
                    f"{path}: {length:,} bytes, and {self.checkpoint} was written at {size:,}: lines are missing; "
                    f"put the whole log back, or resume an older checkpoint"
                )
        return sizes

    def write_settings(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Write `config.yaml`, and `run.json` with what has changed since the start."""
        path = self.folder / "config.yaml"
        write_atomically(path, lambda file: yaml.safe_dump(self.resolved(), file, sort_keys=False, allow_unicode=True))
        recorded = read_run_json(self.folder).get("changes") if self.checkpoint else []
        about = {"verb": self.verb, "seed": self.config.seed, **self.record.to_json()}
        write_json(self.folder / RECORD, about | {"changes": extend_changes(recorded, changes, self.start)})

    def cut_logs(self, sizes: Mapping[str, int]) -> None:
        """Cut the logs back to the checkpoint: the steps after it are repeated."""
        for name in (*LOGS, TOKEN_LOG):
            path = self.folder / name
            if path.exists():
                os.truncate(path, min(sizes.get(name, 0), path.stat().st_size))
        names = LOGS + ((TOKEN_LOG,) if self.writes_tokens else ())
        self.logs = {name: open(self.folder / name, "a", encoding="utf-8") for name in names}  # noqa: SIM115

    def replay_metrics(self) -> None:
        """Send the log so far to the trackers, which start empty: no step is shown twice."""
        for line in read_log(self.folder / "metrics.jsonl"):
            for tracker in self.trackers:
                tracker.log(line["step"], line)

    def log(
        self,
        step: int,
        metrics: Mapping[str, float],
        samples: Iterable[Mapping[str, Any]] = (),
        timing: Mapping[str, float] | None = None,
        tokens: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Append a line to `metrics.jsonl` and `timing.jsonl`, and one for each sample to `samples.jsonl`, for each
        record of a response's tokens to `tokens.jsonl`.

        inf and NaN are written as null.
        """
        line = {"step": step} | replace_non_finite(metrics)
        self.logs["metrics.jsonl"].write(dump_line(line) + "\n")
        self.logs["samples.jsonl"].writelines(
            dump_line({"step": step, **replace_non_finite(sample)}) + "\n" for sample in samples
        )
        if self.writes_tokens:
            self.logs[TOKEN_LOG].writelines(dump_line({"step": step, **record}) + "\n" for record in tokens)
        if timing:
            self.logs["timing.jsonl"].write(dump_line({"step": step, **timing}) + "\n")
        for file in self.logs.values():
            file.flush()
        for tracker in self.trackers:
            tracker.log(step, line)

    def end_step(self, step: int, total: int, write: Callable[[Path], None]) -> None:
        """Save if it is due, or if a signal asked to stop; then raise Stopped after a signal.

        `write(folder)` writes what decides the future of the run; it is called only when a checkpoint is due.
        """
        if step % self.save_steps == 0 or step == total or self.signal_received:
            self.save(step, write)
        if self.signal_received and step < total:
            code = exit_code(self.signal_received)
            raise Stopped(f"stopped after step {step}", code, resume_command(self.folder))

    def stop_if_asked(self, step: int, total: int, write: Callable[[Path], None]) -> None:
        """Within a step that waits: after a signal, save the state after `step` steps and raise Stopped."""
        if self.signal_received:
            self.end_step(step, total, write)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write a checkpoint and delete the oldest beyond `save_total_limit`."""
        for file in self.logs.values():
            os.fsync(file.fileno())
        paths = (self.folder / name for name in (*LOGS, TOKEN_LOG))
        sizes = {path.name: path.stat().st_size for path in paths if path.exists()}

        def write_all(folder: Path) -> None:
            write(folder)
            write_json(folder / "run.json", {"step": step, "logs": sizes})

        if not list_checkpoints(self.folder):
            self.record = replace(self.record, inputs=hash_downloads(self.verb, self.config, self.record.inputs))
        try:
            write_checkpoint(self.folder, step, write_all, self.record.to_json())
        except OSError as error:
            raise disk_error(self.folder, error) from error
        for old in list_checkpoints(self.folder)[self.save_total_limit :]:
            shutil.rmtree(old)

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Write `result.json`: what the command line prints."""
        record = {"run": str(self.folder), **replace_non_finite(result)}
        write_json(self.folder / "result.json", record)
        return record

    def __enter__(self) -> Self:
        """Handle signals in the main thread. In another one Python allows no handlers, and their owner keeps them."""
        handlers = {signal.SIGTERM: self.on_signal, signal.SIGINT: self.on_signal}
        if ALARM is not None:
            handlers[ALARM] = self.on_deadline
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.handlers = {each: signal.signal(each, handlers[each]) for each in handlers if in_main_thread}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.handlers:
            set_deadline(0)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        with self.lock:
            try:
                self.close()
            except OSError as closing_error:  # what could not be written before cannot be written now either
                error = error or closing_error
            if error is not None:
                self.remove_if_unused()
        if isinstance(error, OSError) and error.errno in FULL:
            raise disk_error(self.folder, error) from error
        if error is not None and kind is None:
            raise error

    def close(self) -> None:
        """Close all logs and trackers, even if closing one of them fails."""
        with contextlib.ExitStack() as closing:
            for file in self.logs.values():
                closing.callback(file.close)
            for tracker in self.trackers:
                closing.callback(tracker.close)

    def remove_if_unused(self) -> None:
        """Remove a new folder in which no step was taken, so that the same command works once the error is mended.

        A batch that the numeric guard saved is kept, as evidence.
        """
        log = self.folder / "metrics.jsonl"
        has_content = (
            list_checkpoints(self.folder)
            or (log.exists() and log.stat().st_size)
            or any(self.folder.glob("bad-batch-*"))
        )
        if self.is_new and not has_content:
            remove_created(self.folder, self.created_folders)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the run after this step; a second Ctrl-C, or 30 s after SIGTERM, ends it at once."""
        if self.signal_received and number == signal.SIGINT:
            self.stop_now()
        self.signal_received = number
        if number == signal.SIGTERM:
            set_deadline(SECONDS_TO_SAVE)
        else:
            print_stderr("finishing this step, then saving; Ctrl-C again stops at once")

    def on_deadline(self, number: int, frame: FrameType | None) -> None:
        """Stop `SECONDS_TO_SAVE` after SIGTERM."""
        self.stop_now()

    def stop_now(self) -> NoReturn:
        """Raise Stopped without saving."""
        received = self.signal_received or signal.SIGINT
        latest = find_newest_checkpoint(self.folder)
        if latest is None:
            raise Stopped("stopped before the first checkpoint: nothing was saved", 128 + received)
        raise Stopped(f"stopped; {latest.name} stands", exit_code(received), resume_command(self.folder))


def set_deadline(seconds: int) -> None:
    """Send this process SIGALRM after so many seconds; 0 cancels it."""
    if ALARM is not None:
        signal.alarm(seconds)


def replace_non_finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with None for inf and NaN, in records within it too."""
    return {
        key: replace_non_finite(value) if isinstance(value, Mapping) else none_if_not_finite(value)
        for key, value in record.items()
    }


def none_if_not_finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not know, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
