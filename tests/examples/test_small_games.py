"""MinAtar's games for our PPO: what is seen and drawn, and a run in small. A tiny game plays the package."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import small_games
from gymnasium.utils.env_checker import check_env

from likelier.errors import ConfigError


class Falling:
    """A stone falls down the middle; who stands under it is paid. MinAtar's interface, numbers of actions as there."""

    def __init__(self, name):
        assert name == "breakout"
        self.seed(0)

    def seed(self, seed):
        self.draw = np.random.RandomState(seed)

    def minimal_action_set(self):
        return [0, 1, 3]

    def state_shape(self):
        return [10, 10, 4]

    def reset(self):
        self.row, self.place = 0, self.draw.randint(10)

    def state(self):
        planes = np.zeros((10, 10, 4), bool)
        planes[9, self.place, 0] = planes[self.row, 5, 3] = True
        return planes

    def act(self, action):
        self.place = int(np.clip(self.place + {0: 0, 1: -1, 3: 1}[action], 0, 9))
        self.row += 1
        return int(self.row == 9 and self.place == 5), self.row == 9


@pytest.fixture(autouse=True)
def minatar(monkeypatch):
    module = ModuleType("minatar")
    module.Environment = Falling
    monkeypatch.setitem(sys.modules, "minatar", module)


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning", "ignore:.*render.*:UserWarning")
def test_what_is_seen_and_drawn():
    env = small_games.Breakout(render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(seed=3)
    assert seen.dtype == np.uint8
    assert seen.sum() == 2 * 255
    picture = env.render()
    assert picture.shape == (120, 120, 3)
    assert picture[0, 60].tolist() == small_games.COLOURS[3].tolist()
    assert (picture[::12, ::12].any(2) == seen.any(2)).all()  # black is what no plane shows
    place = env.game.place
    env.step(np.int64(2))
    assert env.game.place == min(9, place + 1)  # the third action that the game knows goes right


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch, capsys):
    short = ["gym.total_steps=30000", "gym.num_eval_episodes=100"]
    monkeypatch.setattr(sys, "argv", ["small_games.py", "Breakout", "--out", str(tmp_path / "run"), "--set", *short])
    small_games.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    # From a random place, by steps of at most one, chance is there in a fifth of the games at most.
    assert found["random"] < 0.25 < 0.6 < found["eval_mean"] <= 1


def test_without_the_package_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(ConfigError, match="^small_games.py needs a package: pip install minatar$"):
        small_games.Breakout()
