"""Where metrics go besides `metrics.jsonl`, if the user asks: TensorBoard, W&B, trackio. Nothing is sent by default."""

import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from likelier.errors import ConfigError


class Tracker(Protocol):
    def log(self, step: int, metrics: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def open_trackers(names: Sequence[str], folder: Path, run_name: str, settings: Mapping[str, Any]) -> list[Tracker]:
    """ConfigError: a tracker's package is not installed."""
    openers: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
    trackers: list[Tracker] = []
    for name in names:
        try:
            trackers.append(openers[name](folder, run_name or folder.name, settings))
        except ImportError as error:
            raise ConfigError(f"report_to: {name} is not installed; pip install {name}") from error
    return trackers


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None and name != "step"}


class TensorBoard:
    """Event files under `tensorboard/`, written from the first step each time the run is opened."""

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        summary = importlib.import_module("tensorboard.summary")
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self.writer = summary.Writer(str(folder / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        for name, value in numbers(metrics).items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A run in the user's W&B project; `WANDB_MODE=offline` keeps it on the machine."""

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        try:
            self.run = wandb.init(
                project="likelier", name=run_name, dir=str(folder), config=dict(settings), resume="allow"
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"report_to: wandb cannot start: {error}; or set WANDB_MODE=offline") from error

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.run.log(numbers(metrics), step=step)

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """A run in trackio's local database."""

    def __init__(self, folder: Path, run_name: str, settings: Mapping[str, Any]) -> None:
        self.trackio = importlib.import_module("trackio")
        self.trackio.init(project="likelier", name=run_name, config=dict(settings), embed=False)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.trackio.log(numbers(metrics), step=step)

    def close(self) -> None:
        self.trackio.finish()
