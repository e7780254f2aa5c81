"""Which folder a run is written to."""

from pathlib import Path

import pytest

from likelier.errors import ConfigError
from likelier.runs.naming import run_folder


def test_runs_are_numbered_by_config_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder("hh", None, "never") == Path("runs/hh-1")
    assert run_folder("hh", None, "auto") == Path("runs/hh-1")
    for name in ("hh-1", "hh-10", "hh-x", "hh-2-old", "other-40"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert run_folder("hh", None, "never") == Path("runs/hh-11")
    assert run_folder("hh", None, "auto") == Path("runs/hh-10")
    assert run_folder("hh", Path("mine"), "auto") == Path("mine")


def test_a_checkpoint_to_resume_names_its_run(tmp_path, monkeypatch):
    (tmp_path / "mine" / "checkpoint-4").mkdir(parents=True)
    assert run_folder("hh", None, str(tmp_path / "mine/checkpoint-4")) == tmp_path / "mine"
    assert run_folder("hh", None, str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(ConfigError, match="--resume atuo: neither `auto`, `never` nor a checkpoint"):
        run_folder("hh", None, "atuo")
