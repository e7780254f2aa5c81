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
    monkeypatch.setattr(recommender.click_rate, "__defaults__", (100, ("drifting",)))
    recommender.main()
    found = json.loads(capsys.readouterr().out)
    assert found["best_fixed"] + 0.02 < found["agent"] < found["oracle"]


def test_early_users_keep_a_taste_and_late_ones_another():
    lasting = recommender.LEAVING[::-1]
    share = (1 / lasting) / (1 / lasting).sum()
    late = [recommender.click_rate(lambda *_, at=at: at, kinds=["late"]) for at in (0, 4)]
    assert late == pytest.approx([0.1 + 0.7 * share[0], 0.1 + 0.7 * share[4]], abs=0.02)
    assert list(recommender.USERS["early"]) == pytest.approx([0.01, 0.02, 0.02, 0.03, 0.04])
    both, seen = recommender.Listener(("early", "late")), set()
    for seed in range(20):
        both.reset(seed=seed)
        seen.add(tuple(both.leaving))
    assert seen == {tuple(recommender.USERS["early"]), tuple(recommender.USERS["late"])}


@pytest.mark.slow
def test_users_who_change_are_met_in_four_ways(tmp_path, monkeypatch, capsys):
    words = ["recommender.py", "--change", "--out", str(tmp_path), "--set", "gym.num_eval_episodes=1"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(recommender, "GYM", recommender.GYM | {"total_steps": 1280})
    monkeypatch.setattr(recommender, "MORE_STEPS", 1280)
    monkeypatch.setattr(recommender, "click_rate", lambda recommend, users=2, kinds=(): 0.0)
    recommender.main()
    found = json.loads(capsys.readouterr().out)
    assert set(found["early"]) == set(found["late"]) == {"once", "on", "both", "late", "fixed"}
    assert f"agent: {tmp_path}/once/model" in (tmp_path / "on" / "config.yaml").read_text()
