"""Digits on a canvas: boxes and the environment by hand, and a short training that finds them better than chance."""

import json
import sys

import find_digits
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env


def test_boxes_by_hand():
    corners = find_digits.to_corners(np.array([[0.5, 0.25, 0.5, 0.25]]))
    assert corners.tolist() == [[6, 3, 18, 9]]
    one = np.array([0, 0, 4, 4])
    assert find_digits.iou(one, one) == 1
    assert find_digits.iou(one, np.array([2, 2, 6, 6])) == pytest.approx(4 / 28)
    assert find_digits.iou(one, np.array([5, 0, 9, 4])) == 0  # beside it
    assert find_digits.iou(one, np.array([9, 9, 9, 9])) == 0  # of no size


def test_a_digit_fills_its_box_and_nothing_else():
    for seed in range(50):
        canvas, (left, top, right, bottom) = find_digits.draw_canvas(np.ones(64), np.random.default_rng(seed))
        assert (canvas > 0).sum() == (right - left) * (bottom - top)
        assert canvas[int(top) : int(bottom), int(left) : int(right)].min() > 0
        assert 8 <= min(right - left, bottom - top) <= max(right - left, bottom - top) <= 16
        assert min(left, top) >= 0
        assert max(right, bottom) <= 24


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_the_reward_is_the_overlap_if_the_class_is_right():
    env = find_digits.Detection()
    check_env(env, skip_render_check=True)
    env.reset(seed=1)
    left, top, right, bottom = env.box
    exact = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], np.float32) / 24
    half = exact * np.array([1, 1, 0.5, 1], np.float32)
    rewards = [env.step((box, env.label))[1] for box in (exact, half)]
    assert rewards == pytest.approx([1.0, 0.5], rel=1e-5)
    assert env.step((exact, (env.label + 1) % 10))[1:4] == (0.0, True, False)


def run(tmp_path, monkeypatch, capsys, steps):
    words = ["find_digits.py", "--out", str(tmp_path / "run"), "--set", f"gym.total_steps={steps}"]
    monkeypatch.setattr(sys, "argv", [*words, "gym.num_eval_episodes=2"])
    find_digits.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_all_three_are_measured_on_the_same_canvases(tmp_path, monkeypatch, capsys):
    found = run(tmp_path, monkeypatch, capsys, 4096)
    assert found["steps"] == 4096
    assert found["chance"]["iou"] == pytest.approx(0.37, abs=0.03)
    assert found["chance"]["accuracy"] == pytest.approx(0.1, abs=0.03)
    for who in ("agent", "supervised", "chance"):
        assert 0 < found[who]["reward"] <= min(found[who]["iou"], found[who]["accuracy"])


@pytest.mark.battery
def test_it_finds_and_names_digits(tmp_path, monkeypatch, capsys):
    found = run(tmp_path, monkeypatch, capsys, 204_800)
    assert found["agent"]["iou"] > 0.55
    assert found["agent"]["accuracy"] > 0.4
    assert found["supervised"]["reward"] > found["agent"]["reward"]
