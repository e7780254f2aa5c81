"""Optional experiment trackers in addition to `metrics.jsonl`: TensorBoard, W&B, trackio. None by default."""

import importlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from likelier.errors import ConfigError


class Tracker(Protocol):
    """An experiment tracker."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record a step's metrics."""
        ...

    def close(self) -> None:
        """Finish the run."""
        ...


def open_trackers(names: Sequence[str], folder: Path, run_name: str, settings: Mapping[str, Any]) -> list[Tracker]:
    """Open trackers by name. ConfigError: a tracker's package is not installed."""
    openers: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
    trackers: list[Tracker] = []
    for name in names:
        try:
            trackers.append(openers[name](folder, run_name or folder.name, settings))
        except ImportError as error:
            raise ConfigError(f"report_to: {name} is not installed; pip install {name}") from error
    return trackers


def select_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that have a value, as floats, without the step."""
    return {name: float(value) for name, value in metrics.items() if value is not None and name != "step"}


class TensorBoard:
    """An event file under `tensorboard/`, rewritten from the first step whenever the run is opened.

    Writes one unbuffered record per step. TensorBoard's own `Writer` uses a thread, which prints a traceback when the
    disk is full.
    """

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        records = importlib.import_module("tensorboard.summary.writer.record_writer")
        self.event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        (folder / "tensorboard").mkdir()
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        self.file = open(folder / "tensorboard" / name, "wb", buffering=0)  # noqa: SIM115
        self.records = records.RecordWriter(self.file)
        self.write(file_version="brain.Event:2")

    def write(self, **content: Any) -> None:
        """Write one event with the given protobuf fields."""
        self.records.write(self.event(wall_time=time.time(), **content).SerializeToString())

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record a step's metrics."""
        values = [{"tag": name, "simple_value": value} for name, value in select_numbers(metrics).items()]
        self.write(step=step, summary={"value": values})

    def close(self) -> None:
        """Finish the run."""
        self.file.close()


class WandB:
    """A run in the W&B project `likelier`; `WANDB_MODE=offline` keeps it local."""

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        try:
            self.run = wandb.init(
                project="likelier", name=run_name, dir=str(folder), config=dict(settings), resume="allow"
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"report_to: wandb cannot start: {error}; or set WANDB_MODE=offline") from error

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record a step's metrics."""
        self.run.log(select_numbers(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class Trackio:
    """A run in trackio's local database."""

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        self.trackio = importlib.import_module("trackio")
        self.trackio.init(project="likelier", name=run_name, config=dict(settings), embed=False)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record a step's metrics."""
        self.trackio.log(select_numbers(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self.trackio.finish()
