"""Reading digits by reward alone: an image is an observation, a class is an action, and an episode is one step.

    python examples/digits.py --out runs/digits

scikit-learn's 1,797 digits of 8 by 8 pixels. The agent is told right or wrong, never which digit it was. Its accuracy
on images that it has not seen stands beside that of logistic regression, which is told every label.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.agent import load_agent
from likelier.control.train import train_gym
from likelier.runs.run import Run

GYM = {
    "env_id": f"{__file__}:Digits",
    "total_steps": 80_000,
    "num_envs": 16,
    "rollout_length": 64,
    "num_ppo_epochs": 4,
    "num_mini_batches": 4,
    "learning_rate": 2e-3,
    "lr_schedule": "linear",
    "gamma": 0.0,
    "entropy_coef": 0.01,
    "normalize_observations": False,
    "normalize_rewards": False,
    "gif": False,
}


def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels between 0 and 1 and labels of `train` (3 in 4) or `test`; every class has its share in both."""
    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(pixels.astype(np.float32) / 16, labels, random_state=0, stratify=labels)
    return (split[0], split[2]) if part == "train" else (split[1], split[3])


class Digits(gymnasium.Env[np.ndarray, np.int64]):
    """Shows a digit drawn at random; reward 1 for its class."""

    def __init__(self) -> None:
        self.pixels, self.labels = images("train")
        self.observation_space = gymnasium.spaces.Box(0, 1, (64,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(10)
        self.shown = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.shown = int(self.np_random.integers(len(self.labels)))
        return self.pixels[self.shown].copy(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.pixels[self.shown].copy(), float(action == self.labels[self.shown]), True, False, {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, such as gym.lam=0.9")
    given = parser.parse_args()
    config = build_config({"seed": given.seed, "gym": GYM}, given.set)
    with Run(given.out, "gym", config, "auto") as run:
        trained = train_gym(config, run)
    agent, (pixels, labels) = load_agent(given.out / "model"), images("test")
    accuracy = np.mean([agent(image) == label for image, label in zip(pixels, labels, strict=True)])
    told = LogisticRegression(max_iter=2000).fit(*images("train")).score(pixels, labels)
    found = {"seed": given.seed, "steps": trained["steps"], "seconds": trained["seconds"], "test_images": len(labels)}
    print(json.dumps(found | {"accuracy": float(accuracy), "logistic_regression": float(told), "chance": 0.1}))


if __name__ == "__main__":
    sys.exit(run_script(main))
