"""Atari games in small (MinAtar, Young and Tian 2019) by the same PPO: what is seen is ten by ten cells, in planes.

    pip install minatar
    python examples/small_games.py Breakout --out runs/breakout

Breakout, Asterix, Freeway, Seaquest or SpaceInvaders, with the sticky actions and the growing difficulty that published
figures have. Prints the mean score of new games by the trained policy, drawn as in training, beside random play.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.train import train_gym
from likelier.errors import ConfigError
from likelier.runs.run import Run

GAMES = {"Breakout": "breakout", "Asterix": "asterix", "Freeway": "freeway", "Seaquest": "seaquest",
         "SpaceInvaders": "space_invaders"}  # fmt: skip
GYM = {
    "total_steps": 1_000_000,
    "num_envs": 32,
    "rollout_length": 64,
    "num_ppo_epochs": 3,
    "num_mini_batches": 8,
    "learning_rate": 1e-3,
    "lr_schedule": "linear",
    "gamma": 0.99,
    "entropy_coef": 0.01,
    "normalize_rewards": False,
    "num_eval_episodes": 100,
}
COLOURS = np.array([(230, 230, 230), (230, 80, 60), (80, 160, 230), (240, 190, 60), (110, 190, 110), (190, 120, 210),
                    (120, 200, 200), (240, 140, 180), (150, 150, 90), (90, 90, 200)], np.uint8)  # fmt: skip


class SmallGame(gymnasium.Env[np.ndarray, np.int64]):
    """A game as planes of bytes `[10, 10, C]`, for the convolutions; the actions are those that the game knows."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    name = ""

    def __init__(self, render_mode: str | None = None) -> None:
        try:
            from minatar import Environment
        except ImportError as error:
            raise ConfigError("small_games.py needs a package: pip install minatar") from error
        self.render_mode, self.game = render_mode, Environment(GAMES[self.name])
        self.actions = self.game.minimal_action_set()
        self.action_space = gymnasium.spaces.Discrete(len(self.actions))
        self.observation_space = gymnasium.spaces.Box(0, 255, self.game.state_shape(), np.uint8)

    def seen(self) -> np.ndarray:
        return self.game.state().astype(np.uint8) * 255

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.game.seed(seed)
        self.game.reset()
        return self.seen(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, over = self.game.act(self.actions[int(action)])
        return self.seen(), float(reward), bool(over), False, {}

    def render(self) -> np.ndarray:
        state = self.game.state()
        top = state.shape[2] - 1 - state[:, :, ::-1].argmax(2)  # the last plane that has something in a cell
        picture = np.where(state.any(2)[..., None], COLOURS[top], np.uint8(0))
        return picture.repeat(12, 0).repeat(12, 1)


class Breakout(SmallGame):
    name = "Breakout"


class Asterix(SmallGame):
    name = "Asterix"


class Freeway(SmallGame):
    name = "Freeway"


class Seaquest(SmallGame):
    name = "Seaquest"


class SpaceInvaders(SmallGame):
    name = "SpaceInvaders"


def play_at_random(env: SmallGame, episodes: int) -> float:
    """Mean score."""
    env.reset(seed=0)
    draw, total = np.random.default_rng(0), 0.0
    for _ in range(episodes):
        env.reset()
        over = False
        while not over:
            _, reward, over, _, _ = env.step(draw.integers(len(env.actions)))
            total += reward
    return total / episodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", choices=GAMES)
    parser.add_argument("--out", type=Path, default=Path("runs/small-games"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as gym.lam=0.9")
    given = parser.parse_args()
    by_chance = play_at_random(globals()[given.game](), 100)
    config = build_config({"seed": given.seed, "gym": GYM | {"env_id": f"{__file__}:{given.game}"}}, given.set)
    with Run(given.out, "gym", config) as run:
        trained = train_gym(config, run)
    print(json.dumps({"seed": given.seed, "game": given.game, "random": by_chance} | trained))


if __name__ == "__main__":
    sys.exit(run_script(main))
