"""A run folder: what one training left behind, and how it goes on after it was killed.

`config.yaml`, `run.json`, `metrics.jsonl` and `samples.jsonl` (a function of config, seed and data: byte-equal after a
resume), `timing.jsonl` (not so), `checkpoint-<step>/`, `latest`, `result.json`, `model/`.
"""

import contextlib
import errno
import importlib.metadata
import math
import os
import platform
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import yaml

import likelier
from likelier.config import Config, build_config, read_yaml
from likelier.errors import ConfigError, DataError, LikelierError, Stopped, exit_code
from likelier.files import dump_line, read_json, read_log, write_atomically, write_json
from likelier.runs.checkpoints import checkpoints, damage, newest_checkpoint, step_of, write_checkpoint
from likelier.runs.folder import disk_trouble, is_unused, make_folder, remove_made, take_lock
from likelier.stages import STAGES
from likelier.trackers import Tracker, open_trackers

LOGS = ("metrics.jsonl", "samples.jsonl", "timing.jsonl")
MAY_CHANGE = {"save_steps", "save_total_limit", "report_to", "run_name"}
"""Settings that decide nothing about the result, so that a resumed run may change them."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""How a disk says that it takes no more."""


ALARM: signal.Signals | None = getattr(signal, "SIGALRM", None)
"""Windows has no alarms, and needs none: there SIGTERM from outside ends a process at once, without a handler."""
SECONDS_TO_SAVE = 30
"""From SIGTERM until a run that is still inside its step gives up."""


class Run:
    """One training in one folder. Use it as a context manager around the loop.

    `checkpoint` is the folder to continue from (None at the start) and `start` its step. A stage calls `log` after each
    step and then `end_step`, which saves where that is due and stops there after a signal.
    """

    def __init__(self, folder: Path, verb: str, config: Config, resume: str = "never") -> None:
        """ConfigError: the folder is in use, not empty without `resume`, or was made with other settings."""
        self.folder, self.verb, self.config = folder, verb, config
        block = getattr(config, STAGES[verb].block)
        self.save_steps, self.save_total_limit = block.save_steps, block.save_total_limit
        self.report_to, self.run_name = block.report_to, block.run_name
        self.signal_received: int | None = None
        self.is_new = is_unused(folder)
        if resume == "never" and not self.is_new:
            raise ConfigError(f"{folder}: not empty; give another --out, or --resume auto to go on")
        self.made = make_folder(folder)
        with contextlib.ExitStack() as held:
            held.callback(os.close, take_lock(folder))
            try:
                self.open(resume)
            except (LikelierError, OSError) as error:
                self.leave_nothing()
                if isinstance(error, OSError):
                    raise disk_trouble(folder, error) from error
                raise
            self.held = held.pop_all()

    def open(self, resume: str) -> None:
        """Find where to go on, and bring settings, logs and trackers to that point."""
        for leftover in (*self.folder.glob("tmp-*"), *self.folder.glob(".*.tmp")):  # of a process that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        self.checkpoint = self.find_checkpoint(resume)
        self.start = step_of(self.checkpoint) if self.checkpoint else 0
        self.write_settings()
        self.cut_logs()
        self.trackers: list[Tracker] = open_trackers(self.report_to, self.folder, self.run_name, self.resolved())
        self.replay_metrics()

    def find_checkpoint(self, resume: str) -> Path | None:
        """The checkpoint that `resume` asks for; None to start anew."""
        if resume == "never":
            return None
        if resume == "auto":
            return newest_checkpoint(self.folder)
        if reason := damage(Path(resume)):
            raise DataError(f"{resume}: cannot resume: {reason}")
        return Path(resume)

    def resolved(self) -> dict[str, Any]:
        """All settings as JSON, defaults included."""
        return self.config.model_dump(mode="json")

    def write_settings(self) -> None:
        """Write `config.yaml` and `run.json`, or see that a resumed run still has the same settings."""
        path = self.folder / "config.yaml"
        if self.checkpoint and path.exists():
            refuse_changes(path, self.resolved(), "run", MAY_CHANGE)
        write_atomically(path, lambda file: yaml.safe_dump(self.resolved(), file, sort_keys=False, allow_unicode=True))
        write_json(self.folder / "run.json", {"verb": self.verb, "seed": self.config.seed, "versions": versions()})

    def cut_logs(self) -> None:
        """Cut the logs back to what the checkpoint saw: the steps after it will be taken again."""
        sizes = read_json(self.checkpoint / "run.json")["logs"] if self.checkpoint else {}
        for name in LOGS:
            path = self.folder / name
            if path.exists():
                os.truncate(path, min(sizes.get(name, 0), path.stat().st_size))
        self.logs = {name: open(self.folder / name, "a", encoding="utf-8") for name in LOGS}  # noqa: SIM115

    def replay_metrics(self) -> None:
        """Trackers are made anew from the log, so that they show no step twice."""
        for line in read_log(self.folder / "metrics.jsonl"):
            for tracker in self.trackers:
                tracker.log(line["step"], line)

    def log(
        self,
        step: int,
        metrics: Mapping[str, float],
        samples: Iterable[Mapping[str, Any]] = (),
        timing: Mapping[str, float] | None = None,
    ) -> None:
        """Append a line to `metrics.jsonl` and `timing.jsonl`, one a sample to `samples.jsonl`; inf and NaN: null."""
        line = {"step": step} | finite_only(metrics)
        self.logs["metrics.jsonl"].write(dump_line(line) + "\n")
        self.logs["samples.jsonl"].writelines(
            dump_line({"step": step, **finite_only(sample)}) + "\n" for sample in samples
        )
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

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write a checkpoint and delete the oldest beyond `save_total_limit`."""
        for file in self.logs.values():
            os.fsync(file.fileno())
        sizes = {name: (self.folder / name).stat().st_size for name in LOGS}

        def write_all(folder: Path) -> None:
            write(folder)
            write_json(folder / "run.json", {"step": step, "logs": sizes})

        try:
            write_checkpoint(self.folder, step, write_all)
        except OSError as error:
            raise disk_trouble(self.folder, error) from error
        for old in checkpoints(self.folder)[self.save_total_limit :]:
            shutil.rmtree(old)

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Write `result.json`: what the command line prints."""
        whole = {"run": str(self.folder), **finite_only(result)}
        write_json(self.folder / "result.json", whole)
        return whole

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
        with self.held:
            try:
                self.close()
            except OSError as trouble:  # what an earlier error left unwritten cannot be written now either
                error = error or trouble
            if error is not None:
                self.leave_nothing()
        if isinstance(error, OSError) and error.errno in FULL:
            raise disk_trouble(self.folder, error) from error
        if error is not None and kind is None:
            raise error

    def close(self) -> None:
        """Close all logs and trackers, whatever one of them says."""
        with contextlib.ExitStack() as closing:
            for file in self.logs.values():
                closing.callback(file.close)
            for tracker in self.trackers:
                closing.callback(tracker.close)

    def leave_nothing(self) -> None:
        """Remove a new folder in which no step was taken: once its cause is mended, the same command must work.

        A batch kept by the numeric guard stays: it is the evidence.
        """
        log = self.folder / "metrics.jsonl"
        begun = (
            checkpoints(self.folder) or (log.exists() and log.stat().st_size) or any(self.folder.glob("bad-batch-*"))
        )
        if self.is_new and not begun:
            remove_made(self.folder, self.made)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the run after this step; a second Ctrl-C, or 30 s after SIGTERM, ends it at once."""
        if self.signal_received and number == signal.SIGINT:
            self.give_up()
        self.signal_received = number
        if number == signal.SIGTERM:
            set_deadline(SECONDS_TO_SAVE)
        else:
            print("finishing this step, then saving; Ctrl-C again stops at once", file=sys.stderr)

    def on_deadline(self, number: int, frame: FrameType | None) -> None:
        """30 s after SIGTERM."""
        self.give_up()

    def give_up(self) -> NoReturn:
        """Raise Stopped: end now, without saving."""
        received = self.signal_received or signal.SIGINT
        latest = newest_checkpoint(self.folder)
        if latest is None:
            raise Stopped("stopped before the first checkpoint: nothing was saved", 128 + received)
        raise Stopped(f"stopped; {latest.name} stands", exit_code(received), resume_command(self.folder))


def set_deadline(seconds: int) -> None:
    """Send this process SIGALRM after so many seconds; 0 calls it off."""
    if ALARM is not None:
        signal.alarm(seconds)


def resume_command(folder: Path) -> str:
    """This command, with what makes it go on in `folder`."""
    words = [word for word in sys.argv[1:] if not word.startswith("--resume=")]
    if "--resume" in words:
        at = words.index("--resume")
        del words[at : at + 2]
    out = [] if any(word.startswith("--out") for word in words) else ["--out", str(folder)]
    return shlex.join(["likelier", *words, *out, "--resume", "auto"])


def finite_only(record: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that are not finite become None, in records within the record too."""
    return {key: finite_only(value) if isinstance(value, Mapping) else finite(value) for key, value in record.items()}


def finite(value: Any) -> Any:
    """None for inf and NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version(), "likelier": likelier.__version__}
    for name in ("torch", "transformers", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def refuse_changes(path: Path, settings: Mapping[str, Any], kind: str, may_change: Collection[str]) -> None:
    """ConfigError: the run (or search) whose settings are in the file `path` was started with others than these.

    A setting that is newer than the file counts as its default.
    """
    recorded = build_config(read_yaml(path), source=str(path)).model_dump(mode="json")
    for name, old, new in differences(recorded, settings):
        if name.rpartition(".")[2] not in may_change:
            raise ConfigError(f"{path}: this {kind} was started with {name}={old!r}, not {new!r}; use another --out")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any, Any]]:
    """(dotted field, old value, new value) wherever two nested settings differ."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
