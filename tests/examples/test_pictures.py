"""A short fine-tuning of the diffusion model towards sevens, from the first picture to the last."""

import json
import sys

import pictures
import pytest
from PIL import Image

from likelier.cli import run_script
from likelier.images import diffusion


@pytest.mark.slow
def test_a_short_run_makes_more_sevens(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "open_start", lambda *words: diffusion.open_start(*words, steps=300))
    words = [
        "pictures.py",
        "--out",
        str(tmp_path / "run"),
        "--set",
        "ppo.total_episodes=2048",
        "ppo.num_eval_prompts=100",
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert run_script(pictures.main) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sevens_after"] > found["sevens_before"] + 0.1
    assert 0 < found["kl"] < 100
    assert Image.open(tmp_path / "run" / "after.png").size == (181 * 16, 28 * 16)


def test_errors_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--out", str(tmp_path / "run"), "--set", "ppo.algorithm=ppo"])
    assert run_script(pictures.main) == 2
    assert "ppo.algorithm: ppo has a critic" in capsys.readouterr().err
