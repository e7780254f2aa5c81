"""Drifting tastes: the simulated user by hand, the yardsticks by arithmetic, a short training beats a fixed list."""

import json
import sys
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def recommender():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import recommender
    finally:
        sys.path.remove(str(EXAMPLES))
    return recommender


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_what_a_listener_shows(recommender):
    env = recommender.Listener()
    check_env(env, skip_render_check=True)
    assert env.reset(seed=0)[0].tolist() == [0] * 5
    seen = [env.step(3) for _ in range(recommender.STEPS)]
    assert all(shown.tolist() == [0, 0, 0, 1 if reward else -1, 0] for shown, reward, *_ in seen)
    assert [truncated for *_, truncated, _ in seen] == [False] * 39 + [True]


def test_yardsticks(recommender):
    assert recommender.click_rate(lambda shown, taste: taste) == pytest.approx(0.8, abs=0.01)
    lasting = 1 / recommender.LEAVING
    share = lasting / lasting.sum()  # how long each taste lasts, by how long it stays: here every taste comes as often
    expected = 0.1 + 0.7 * share[0]
    assert recommender.click_rate(lambda shown, taste: 0) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_it_beats_the_best_fixed_recommendation(recommender, tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=40000", "gym.num_eval_episodes=2"]
    monkeypatch.setattr(sys, "argv", ["recommender.py", "--out", str(tmp_path / "run"), "--set", *short])
    monkeypatch.setattr(recommender.click_rate, "__defaults__", (100,))
    recommender.main()
    found = json.loads(capsys.readouterr().out)
    assert found["best_fixed"] + 0.02 < found["agent"] < found["oracle"]
