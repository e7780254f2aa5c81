"""Recommending to people whose taste drifts, beside the best fixed recommendation and an oracle that reads minds.

    python examples/recommender.py --out runs/recommender
    python examples/recommender.py --change --out runs/change

A simulated user likes one of five genres at a time, clicks on it with probability 0.8 and on others with 0.1, and after
a while likes another. The agent sees its last eight recommendations and which were clicked.

With `--change` the users change too: at first (`early`) tastes last five times as long, later (`late`) they last as
above, and what was the most lasting genre is the least. A policy trained on early users `once` and one that was then
trained `on` with late users stand beside one that met `both` kinds from the beginning, and one that met only `late`
ones.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.agent import LoadedAgent, load_agent
from likelier.control.train import train_gym
from likelier.runs.run import Run

GENRES, STEPS, MEMORY, CLICK, ELSE = 5, 40, 8, 0.8, 0.1
LEAVING = np.array([0.05, 0.1, 0.1, 0.15, 0.2])
"""How likely the taste leaves each genre in a step; it goes to any other."""
MORE_STEPS = 100_000
"""With which a policy that was trained once goes on."""
USERS = {"drifting": LEAVING, "early": LEAVING / 5, "late": LEAVING[::-1]}
GYM: dict[str, Any] = {
    "env_id": f"{__file__}:Listener", "frame_stack": MEMORY, "total_steps": 200_000, "num_envs": 16, "gamma": 0.9,
    "rollout_length": 80, "num_ppo_epochs": 4, "num_mini_batches": 4,
    "learning_rate": 1e-3, "lr_schedule": "linear", "entropy_coef": 0.01, "gif": False,
    "normalize_observations": False, "normalize_rewards": False,
}  # fmt: skip


class Listener(gymnasium.Env[np.ndarray, np.int64]):
    """Observes the last recommendation: 1 at its genre if it was clicked, else -1. A user is of any of `kinds`."""

    def __init__(self, kinds: Sequence[str] = ("drifting",)) -> None:
        self.kinds = kinds
        self.observation_space = gymnasium.spaces.Box(-1, 1, (GENRES,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(GENRES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        kind = int(self.np_random.integers(len(self.kinds))) if len(self.kinds) > 1 else 0
        self.leaving, self.steps = USERS[self.kinds[kind]], 0
        self.taste = int(self.np_random.choice(GENRES, p=1 / self.leaving / (1 / self.leaving).sum()))
        return np.zeros(GENRES, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        clicked = self.np_random.random() < (CLICK if action == self.taste else ELSE)
        if self.np_random.random() < self.leaving[self.taste]:
            self.taste = int((self.taste + self.np_random.integers(1, GENRES)) % GENRES)
        self.steps += 1
        shown = np.where(np.arange(GENRES) == action, 1 if clicked else -1, 0).astype(np.float32)
        return shown, float(clicked), False, self.steps == STEPS, {}


def click_rate(
    recommend: Callable[[list[np.ndarray], int], int], users: int = 500, kinds: Sequence[str] = ("drifting",)
) -> float:
    """Clicks a recommendation, over users never trained on; `recommend` gets what was shown last, and the taste."""
    env, clicks = Listener(kinds), 0.0
    for user in range(users):
        shown, over = [env.reset(seed=1_000_000 + user)[0]] * MEMORY, False
        while not over:
            observation, reward, _, over, _ = env.step(recommend(shown, env.taste))
            shown, clicks = [*shown[1:], observation], clicks + reward
    return round(clicks / (users * STEPS), 4)


def train(out: Path, seed: int, more: list[str], **gym: Any) -> LoadedAgent:
    """Train a policy in a run folder; returns it."""
    config = build_config({"seed": seed, "gym": GYM | gym}, more)
    with Run(out, "gym", config, "auto") as run:
        train_gym(config, run)
    return load_agent(out / "model")


def compare_changes(out: Path, seed: int, more: list[str]) -> dict[str, dict[str, float]]:
    """Clicks a recommendation of early and late users, for each way to meet the change and for the best fixed genre."""
    early, late = {"kinds": ["early"]}, {"kinds": ["late"]}
    agents = {"once": train(out / "once", seed, more, env_args=early)}
    agents["on"] = train(
        out / "on", seed, more, env_args=late, agent=str(out / "once" / "model"), total_steps=MORE_STEPS
    )
    agents["both"] = train(out / "both", seed, more, env_args={"kinds": ["early", "late"]})
    agents["late"] = train(out / "late", seed, more, env_args=late)
    found: dict[str, dict[str, float]] = {}
    for kind in ("early", "late"):
        found[kind] = {
            name: click_rate(lambda shown, _, agent=agent: int(agent(shown)), kinds=[kind])
            for name, agent in agents.items()
        }
        found[kind]["fixed"] = max(click_rate(lambda *_, at=at: at, kinds=[kind]) for at in range(GENRES))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/recommender"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--change", action="store_true", help="train before and after the users change")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as gym.lam=0.9")
    given = parser.parse_args()
    if given.change:
        print(json.dumps({"seed": given.seed} | compare_changes(given.out, given.seed, given.set)))
        return
    agent = train(given.out, given.seed, given.set)
    fixed = [click_rate(lambda shown, taste, genre=genre: genre) for genre in range(GENRES)]
    learned, oracle = click_rate(lambda shown, _: int(agent(shown))), click_rate(lambda _, taste: taste)
    print(json.dumps({"seed": given.seed, "agent": learned, "best_fixed": max(fixed), "oracle": oracle}))


if __name__ == "__main__":
    sys.exit(run_script(main))
