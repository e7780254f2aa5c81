"""Digits by reward alone: the environment by hand, and a short training that is far above chance."""

import json
import sys

import digits
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from likelier.cli import run_script


def test_train_and_test_share_no_image():
    train, test = digits.images("train"), digits.images("test")
    assert (train[0].shape, test[0].shape) == ((1347, 64), (450, 64))
    assert 0 <= train[0].min() < train[0].max() == 1
    assert set(np.bincount(test[1])) <= {43, 44, 45, 46}
    assert not {row.tobytes() for row in test[0]} & {row.tobytes() for row in train[0]}


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_one_step_and_only_its_class_is_rewarded():
    env = digits.Digits()
    check_env(env, skip_render_check=True)
    rewards = []
    for action in range(10):
        image, _ = env.reset(seed=5)
        label = int(digits.images("train")[1][np.flatnonzero((digits.images("train")[0] == image).all(1))[0]])
        _, reward, terminated, truncated, _ = env.step(action)
        assert (terminated, truncated) == (True, False)
        rewards.append(reward)
    assert rewards == [float(action == label) for action in range(10)]


def test_a_second_time_into_the_same_folder_goes_on(tmp_path, monkeypatch, capsys):
    """It has ended already: the same numbers again. Other settings are one line."""
    words = ["digits.py", "--out", str(tmp_path / "run"), "--set", "gym.total_steps=2048", "gym.num_eval_episodes=2"]
    monkeypatch.setattr(sys, "argv", words)
    found = []
    for _ in range(2):
        assert run_script(digits.main) == 0
        found.append(json.loads(capsys.readouterr().out)["accuracy"])
    assert found[0] == found[1]
    monkeypatch.setattr(sys, "argv", [*words, "gym.gamma=0.5"])
    assert run_script(digits.main) == 2
    assert "this run was started with gym.gamma=0.0, not 0.5; use another --out" in capsys.readouterr().err


@pytest.mark.slow
def test_it_learns_from_right_and_wrong(tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=16000", "gym.num_eval_episodes=5"]
    monkeypatch.setattr(sys, "argv", ["digits.py", "--out", str(tmp_path / "run"), "--set", *short])
    digits.main()
    found = json.loads(capsys.readouterr().out)
    assert found["test_images"] == 450
    assert found["logistic_regression"] > 0.95
    assert 0.7 < found["accuracy"] < 1
