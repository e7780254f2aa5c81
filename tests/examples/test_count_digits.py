"""Digits counted in pictures: what is drawn, and one step of everything on a few pictures."""

import json
import sys

import count_digits
import numpy as np
import pytest
from PIL import Image


def test_a_picture_holds_the_digits_of_its_answer(tmp_path):
    """Of digits that are squares of ink of their own brightness: as many, and those."""
    pixels, labels = np.stack([np.full((8, 8), 1.0 + digit) for digit in range(10)]), np.arange(10)
    path = count_digits.draw_pictures((pixels, labels), 30, tmp_path / "some", np.random.default_rng(0))
    for number, line in enumerate(path.read_text().splitlines()):
        drawn = np.asarray(Image.open(tmp_path / "some" / f"{number}.png"))
        shades, counts = np.unique(drawn[drawn > 0], return_counts=True)
        digits = [round(float(shade) * 16 / 255) - 1 for shade in shades]
        assert set(counts) == {64}
        assert json.loads(line)["reference"] == f"{len(digits)}:{''.join(map(str, digits))}"


@pytest.mark.slow
def test_a_step_of_everything(tmp_path, monkeypatch, capsys):
    draw = count_digits.draw_pictures
    monkeypatch.setattr(count_digits, "draw_pictures", lambda digits, count, *rest: draw(digits, count // 50, *rest))
    words = ["count_digits.py", "--out", str(tmp_path / "run"), "--sft-steps", "2", "--ppo-steps", "1"]
    monkeypatch.setattr(sys, "argv", words)
    count_digits.main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("right on 10 unseen pictures: 0.")


@pytest.mark.battery
def test_ppo_corrects_what_sft_learned_a_little(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["count_digits.py", "--out", str(tmp_path / "run"), "--seed", "3"])
    count_digits.main()
    words = capsys.readouterr().out.splitlines()[-1].split()
    assert float(words[8]) > float(words[5]) + 0.1
