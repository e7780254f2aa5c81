"""Drifting tastes: the simulated user by hand, the yardsticks by arithmetic, a short training beats a fixed list."""

import json
import sys

import pytest
import recommender
from gymnasium.utils.env_checker import check_env


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_what_a_listener_shows():
    env = recommender.Listener()
    check_env(env, skip_render_check=True)
    assert env.reset(seed=0)[0].tolist() == [0] * 5
    seen = [env.step(3) for _ in range(recommender.STEPS)]
    assert all(shown.tolist() == [0, 0, 0, 1 if reward else -1, 0] for shown, reward, *_ in seen)
    assert [truncated for *_, truncated, _ in seen] == [False] * 39 + [True]


def test_yardsticks():
    assert recommender.click_rate(lambda shown, taste: taste) == pytest.approx(0.8, abs=0.01)
    lasting = 1 / recommender.LEAVING
    share = lasting / lasting.sum()  # how long each taste lasts, by how long it stays: here every taste comes as often
    expected = 0.1 + 0.7 * share[0]
    assert recommender.click_rate(lambda shown, taste: 0) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_it_beats_the_best_fixed_recommendation(tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=40000", "gym.num_eval_episodes=2"]
    monkeypatch.setattr(sys, "argv", ["recommender.py", "--out", str(tmp_path / "run"), "--set", *short])
    monkeypatch.setattr(recommender.click_rate, "__defaults__", (100,))
    recommender.main()
    found = json.loads(capsys.readouterr().out)
    assert found["best_fixed"] + 0.02 < found["agent"] < found["oracle"]
