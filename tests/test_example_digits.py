"""Digits by reward alone: the environment by hand, and a short training that is far above chance."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def digits():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import digits
    finally:
        sys.path.remove(str(EXAMPLES))
    return digits


def test_train_and_test_share_no_image(digits):
    train, test = digits.images("train"), digits.images("test")
    assert (train[0].shape, test[0].shape) == ((1347, 64), (450, 64))
    assert 0 <= train[0].min() < train[0].max() == 1
    assert set(np.bincount(test[1])) <= {43, 44, 45, 46}
    assert not {row.tobytes() for row in test[0]} & {row.tobytes() for row in train[0]}


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_one_step_and_only_its_class_is_rewarded(digits):
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


@pytest.mark.slow
def test_it_learns_from_right_and_wrong(digits, tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=16000", "gym.num_eval_episodes=5"]
    monkeypatch.setattr(sys, "argv", ["digits.py", "--out", str(tmp_path / "run"), "--set", *short])
    digits.main()
    found = json.loads(capsys.readouterr().out)
    assert found["test_images"] == 450
    assert found["logistic_regression"] > 0.95
    assert 0.7 < found["accuracy"] < 1
