"""A pendulum that turns: turns counted by hand; comparisons of clips teach it."""

import json
import sys

import numpy as np
import pytest
import turn


def test_turns_are_counted_clockwise_and_liked_near_one_a_second():
    """Speeds in radians a second, counter-clockwise: -pi and -3 pi are a turn a second on average."""
    clip = np.array([[1.0, 0.0, -np.pi], [1.0, 0.0, -3 * np.pi]])
    assert turn.count_turns(clip) == pytest.approx(1.0)
    assert turn.like_turns(clip, np.zeros((2, 1))) == pytest.approx(0.0)
    assert turn.like_turns(-clip, np.zeros((2, 1))) == pytest.approx(-2.0)
    assert turn.like_turns(2 * clip, np.zeros((2, 1))) == pytest.approx(-1.0)


@pytest.mark.battery
def test_comparisons_teach_it_to_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["turn.py", "--out", str(tmp_path / "run"), "--seed", "1"])
    turn.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["comparisons"] == 300
    assert found["within_a_fifth"] > 0.8
