"""Pretrained trunks on real preferences: on invented sets; what is done stays, and other settings are refused."""

import json
import sys
from pathlib import Path

import pretrained_preferences as example
import pytest

from human_sets import WORDS, write_sets
from likelier.cli import run_script
from tiny import save_tiny_model

FIRST = ["please", "never", "reason"]
KNOWN = [*WORDS, *FIRST, *(f"Assistant:{word}" for word in FIRST), "blue", "red", "green"]
QUICK = ["num_epochs=4", "max_length=48", "batch_size=8", "learning_rate=1e-2"]


def run(monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pretrained_preferences.py", *more])
    return run_script(example.main)


def test_all_of_the_model_is_trained_fold_by_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sets(tmp_path / "data")
    save_tiny_model(tmp_path / "model", words=KNOWN, context=64)
    command = [
        str(tmp_path / "data"),
        "ukp-convarg1",
        str(tmp_path / "model"),
        "-o",
        str(tmp_path / "out"),
        "--folds",
        "2",
    ]
    settings = [part for setting in QUICK for part in ("--set", setting)]
    assert run(monkeypatch, *command, *settings, "--fold", "1") == 0
    one = json.loads((tmp_path / "out/results.json").read_text())
    assert (one["pairs"], one["folds_done"], one["reward model"]["accuracy"]) == (30, 1, 1.0)
    done = (tmp_path / "out/fold-1.json").stat().st_mtime_ns
    assert run(monkeypatch, *command, *settings) == 0
    both = json.loads((tmp_path / "out/results.json").read_text())
    assert (both["pairs"], both["folds_done"], both["reward model"]["accuracy"]) == (60, 2, 1.0)
    assert {"from scratch", "length only", "bag of words", "over from scratch"} <= both.keys()
    assert (tmp_path / "out/fold-1.json").stat().st_mtime_ns == done
    assert "reward model over from scratch" in capsys.readouterr().out
    assert run(monkeypatch, *command, "--seed", "1") == 2
    assert capsys.readouterr().err == f"likelier: {tmp_path / 'out'}: folds of other settings; give a new folder\n"


def test_a_head_on_frozen_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sets(tmp_path / "data")
    save_tiny_model(tmp_path / "model", words=KNOWN, context=64)
    command = [str(tmp_path / "data"), "ukp-convarg1", str(tmp_path / "model"), "-o", str(tmp_path / "out"), "--folds"]
    assert run(monkeypatch, *command, "2", "--features", "--fold", "0") == 0
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert found["pairs"] == 30
    assert found["reward model"]["accuracy"] > 0.9
