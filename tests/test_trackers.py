"""Metrics reach TensorBoard, W&B and trackio, without a network."""

import json
import subprocess
import sys

import pytest

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.runs.run import Run
from likelier.trackers import open_trackers


def config(tracker):
    return build_config({"sft": {"report_to": [tracker], "save_steps": 1}})


def tensorboard_scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(scalar.step, scalar.value) for scalar in events.Scalars("loss")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    with Run(tmp_path, "sft", config("tensorboard")) as run:
        run.log(1, {"loss": 0.5})
        run.end_step(1, 3, lambda folder: (folder / "w.json").write_text("1"))
        run.log(2, {"loss": 9.0})  # killed before its checkpoint: taken again below
    with Run(tmp_path, "sft", config("tensorboard"), "auto") as run:
        assert run.start == 1
        run.log(2, {"loss": 0.25})
    assert tensorboard_scalars(tmp_path) == [(1, 0.5), (2, 0.25)]


FULL = """
import resource, sys
from pathlib import Path
from likelier.cli import run_script
from likelier.config import build_config
from likelier.runs.run import Run

def main():
    with Run(Path(sys.argv[1]), "sft", build_config({"sft": {"report_to": ["tensorboard"]}})) as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        for step in range(100):
            run.log(step, {"loss": 0.5})

sys.exit(run_script(main))
"""


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    """TensorBoard's file is the first to reach the limit; no thread may print what it met."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cannot write (File too large)" in done.stderr
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_size < 3000


@pytest.mark.slow
def test_wandb_offline_leaves_a_local_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with Run(tmp_path, "sft", config("wandb")) as run:
        run.log(1, {"loss": 0.5})
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trackio_writes_its_local_database(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    tracker = open_trackers(["trackio"], tmp_path, "night", {"seed": 1})[0]
    tracker.log(1, {"step": 1, "loss": 0.5})
    tracker.close()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "trackio").rglob("*") if path.is_file())
    assert b"night" in stored
    assert b"loss" in stored


def test_absent_tracker_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ConfigError, match="report_to: wandb is not installed; pip install wandb"):
        open_trackers(["wandb"], tmp_path, "", {})


def test_a_tracker_that_cannot_start_is_one_line(tmp_path, monkeypatch):
    """W&B without a key, where nobody can be asked for one."""
    wandb = pytest.importorskip("wandb")

    def refuse(**settings):
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match="report_to: wandb cannot start: No API key.*WANDB_MODE=offline"):
        open_trackers(["wandb"], tmp_path, "", {})


def test_metrics_are_always_in_the_run_folder(tmp_path):
    with Run(tmp_path, "sft", build_config({})) as run:
        run.log(1, {"loss": 0.5})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}
