"""A walk through a small maze that is seen as pixels only, learned to its known optimum.

    python examples/pixel_grid.py --out runs/pixel-grid

A walker (red) and a goal (green) stand in a maze of 5 by 5 cells, each drawn as 3 by 3 pixels. A step costs 0.1 and the
goal pays 1, so the optimum is 1 less 0.1 for each step of a shortest path. Afterwards the agent walks from every cell
to every other one, and its walks are compared with the shortest.
"""

import argparse
import json
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.agent import load_agent
from likelier.control.train import train_gym
from likelier.runs.run import Run

MAZE = ["..#..", ".#...", "...#.", ".#.#.", "....."]
FREE = [(row, column) for row, line in enumerate(MAZE) for column, cell in enumerate(line) if cell == "."]
MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0))
LIMIT = 25
GYM = {
    "env_id": f"{__file__}:PixelGrid",
    "total_steps": 200_000,
    "num_envs": 16,
    "rollout_length": 32,
    "num_ppo_epochs": 4,
    "num_mini_batches": 4,
    "learning_rate": 2e-3,
    "lr_schedule": "linear",
    "gamma": 0.95,
    "normalize_rewards": False,
    "whiten_advantages": False,
    "entropy_coef": 0.02,
}
"""Advantages stay as they are. Once nearly every walk is right, their spread is that of the critic's errors: scaled up
to 1, these drown the entropy bonus and push now one cell, now another off its right way, until the last step.
"""


def moved(cell: tuple[int, int], action: int) -> tuple[int, int]:
    """The next cell; a wall or the edge holds the walker where it is."""
    there = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
    return there if there in FREE else cell


def shortest(goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Steps from each cell to the goal, by breadth-first search."""
    steps, edge = {goal: 0}, [goal]
    for cell in edge:
        for near in {moved(cell, action) for action in range(4)} - steps.keys():
            steps[near] = steps[cell] + 1
            edge.append(near)
    return steps


class PixelGrid(gymnasium.Env[np.ndarray, np.int64]):
    """Observations are pictures `[15, 15, 3]` of bytes; actions go right, left, down and up."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = gymnasium.spaces.Box(0, 255, (15, 15, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        walker, goal = self.np_random.choice(len(FREE), 2, replace=False)
        self.walker, self.goal = (options or {}).get("from_to", (FREE[walker], FREE[goal]))
        self.taken = 0
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        picture = np.array([[(90, 90, 90) if cell == "#" else (0, 0, 0) for cell in line] for line in MAZE], np.uint8)
        picture[self.walker], picture[self.goal] = (255, 0, 0), (0, 255, 0)
        return picture.repeat(3, 0).repeat(3, 1)

    def render(self) -> np.ndarray:
        return self.seen().repeat(8, 0).repeat(8, 1)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.walker, self.taken = moved(self.walker, int(action)), self.taken + 1
        there = self.walker == self.goal
        return self.seen(), float(there) - 0.1, there, self.taken >= LIMIT, {}


def walk(agent: Any, start: tuple[int, int], goal: tuple[int, int]) -> tuple[int, float]:
    """Steps taken and the return, with the likeliest actions."""
    env = PixelGrid()
    seen, total, over = env.reset(options={"from_to": (start, goal)})[0], 0.0, False
    while not over:
        seen, reward, arrived, late, _ = env.step(agent(seen))
        total, over = total + reward, arrived or late
    return env.taken, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pixel-grid"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as gym.lam=0.9")
    given = parser.parse_args()
    config = build_config({"seed": given.seed, "gym": GYM}, given.set)
    with Run(given.out, "gym", config) as run:
        trained = train_gym(config, run)
    agent = load_agent(given.out / "model")
    starts = list(permutations(FREE, 2))
    walks = [walk(agent, start, goal) for start, goal in starts]
    best = [shortest(goal)[start] for start, goal in starts]
    found = {
        "seed": given.seed,
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "starts": len(starts),
        "shortest_walks": sum(steps == least for (steps, _), least in zip(walks, best, strict=True)),
        "mean_return": round(float(np.mean([total for _, total in walks])), 4),
        "optimum": round(float(np.mean([1 - 0.1 * least for least in best])), 4),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(run_script(main))
