"""A maze seen as pixels: the walks by hand, what is drawn, and a short training that finds most shortest paths."""

import json
import sys

import pixel_grid
import pytest
from gymnasium.utils.env_checker import check_env


def test_shortest_walks_by_hand():
    steps = pixel_grid.shortest((0, 3))  # from the corner: down the left side, then around
    assert (steps[0, 3], steps[0, 4], steps[1, 2], steps[0, 1]) == (0, 1, 2, 8)
    assert len(steps) == len(pixel_grid.FREE) == 20


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_what_is_drawn_and_paid():
    env = pixel_grid.PixelGrid()
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(options={"from_to": ((1, 2), (0, 3))})
    assert [seen[3 * row, 3 * column].tolist() for row, column in ((1, 2), (0, 3), (0, 2), (0, 0))] == [
        [255, 0, 0], [0, 255, 0], [90, 90, 90], [0, 0, 0],
    ]  # fmt: skip
    assert [env.step(action)[1:3] for action in (3, 0, 3)] == [(-0.1, False), (-0.1, False), (0.9, True)]
    env.reset(options={"from_to": ((0, 0), (0, 3))})
    assert [env.step(1)[3] for _ in range(pixel_grid.LIMIT)] == [False] * 24 + [True]


@pytest.mark.battery
def test_it_learns_to_walk(tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=20000", "gym.rollout_length=32", "gym.learning_rate=2e-3", "gym.num_eval_episodes=5"]
    monkeypatch.setattr(sys, "argv", ["pixel_grid.py", "--out", str(tmp_path / "run"), "--set", *short])
    pixel_grid.main()
    found = json.loads(capsys.readouterr().out)
    assert found["starts"] == 380
    assert 150 < found["shortest_walks"] < 380
    assert found["mean_return"] < found["optimum"] == pytest.approx(0.59)  # the mean shortest walk takes 4.1 steps
    assert (tmp_path / "run" / "agent.gif").stat().st_size > 500
