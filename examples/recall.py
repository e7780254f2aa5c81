"""A corridor that needs memory: a cue at its entrance says where to turn at its end (a T-maze, Bakker 2002).

    python examples/recall.py --out runs/recall                      # an LSTM
    python examples/recall.py --out runs/stack --frame-stack 4       # the newest four observations instead

The cue is seen in the first step only. Turning as it said pays 1, the other way costs 1, and every step that does not
lead on costs 0.1. The optimum is 1. Whoever sees less than the whole corridor at once cannot do better than guess, and
its optimum is 0. Afterwards 1,000 episodes are played.
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
from likelier.runs.run import Run

FORWARD, LEFT, RIGHT = range(3)
GYM = {
    "env_id": f"{__file__}:Recall",
    "max_episode_steps": 200,
    "num_envs": 16,
    "rollout_length": 64,
    "num_ppo_epochs": 4,
    "num_mini_batches": 4,
    "learning_rate": 2e-3,
    "entropy_coef": 0.01,
    "normalize_observations": False,
    "normalize_rewards": False,
    "num_eval_episodes": 1000,
    "gif": False,
}


class Recall(gymnasium.Env[Any, Any]):
    """Sees the cue (-1 or 1; 0 after the first step), and whether it stands at the end of the corridor."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, length: int = 20) -> None:
        self.length = length

    def see(self, cue: int) -> np.ndarray[Any, Any]:
        """The observation."""
        return np.array([cue, self.place == self.length], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """At the entrance, with a new cue."""
        super().reset(seed=seed)
        self.place, self.cue = 0, int(self.np_random.choice([-1, 1]))
        return self.see(self.cue), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Walk on in the corridor, or turn at its end."""
        at_end = self.place == self.length
        if at_end and action != FORWARD:
            return self.see(0), 1.0 if (action == RIGHT) == (self.cue == 1) else -1.0, True, False, {}
        leads_on = not at_end and action == FORWARD
        self.place += leads_on
        return self.see(0), 0.0 if leads_on else -0.1, False, False, {}


def main() -> None:
    """Train and print what is reached."""
    parser = argparse.ArgumentParser(description="A corridor that needs memory.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frame-stack", type=int, help="so many observations at once instead of an LSTM")
    parser.add_argument("--length", type=int, default=20, help="of the corridor, in steps")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    memory = {"frame_stack": given.frame_stack} if given.frame_stack else {"recurrent": True}
    gym = GYM | memory | {"total_steps": given.steps, "env_args": {"length": given.length}}
    config = build_config({"seed": given.seed, "gym": gym})
    with Run(given.out, "gym", config, "auto") as run:
        result = train_gym(config, run)
    keys = ("eval_mean", "eval_sampled_mean", "mean_return", "steps", "seconds")
    print(json.dumps({key: result[key] for key in keys} | {"optimum": 1.0, "optimum_without_memory": 0.0}))


if __name__ == "__main__":
    sys.exit(run_script(main))
