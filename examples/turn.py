"""A pendulum that turns once a second, which its reward does not ask for: taught by comparisons of clips alone.

    python examples/turn.py --out runs/turn                       # a simulated judge with that taste, 300 comparisons
    python examples/turn.py --out runs/turn --comparisons 100 --seed 1

Pendulum-v1 pays for standing upright and still. The judge likes the pendulum to turn clockwise once a second: of two
clips it takes the one whose turns are closer to that, and a tenth of its answers are a coin's. This is a taste for a
whole clip, not a sum over its steps. Afterwards 50 episodes are played with the likeliest actions, and the turns in
their second half are counted. `agent.gif` in the folder shows an episode.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import likelier
from likelier.cli import run_script
from likelier.config import build_config
from likelier.control.known import known_settings
from likelier.control.train import train_gym
from likelier.runs.run import Run

ENV_ID, STEP_SECONDS = "Pendulum-v1", 0.05
WANTED = 1.0
"""Turns clockwise in a second."""
EPISODES = 50
Array = np.ndarray[Any, Any]


def like_turns(observations: Array, actions: Array) -> float:
    """How much a clip is liked: minus the distance of its turns a second from what is wanted."""
    return -abs(count_turns(observations) - WANTED)


def count_turns(observations: Array) -> float:
    """Turns clockwise in a second; the third number of an observation is the speed counter-clockwise in radians."""
    return -float(observations[:, 2].mean()) / (2 * np.pi)


def play(folder: Path) -> list[float]:
    """Turns a second in the second half of fresh episodes."""
    agent, env = likelier.load(str(folder)), gymnasium.make(ENV_ID)
    turns = []
    for episode in range(EPISODES):
        (observation, _), seen, over = env.reset(seed=10_000 + episode), [], False
        while not over:
            seen.append(observation)
            observation, _, _, over, _ = env.step(agent.predict(observation)[0])
        turns.append(count_turns(np.array(seen[len(seen) // 2 :])))
    return turns


def main() -> None:
    """Train, and print how the pendulum turns."""
    parser = argparse.ArgumentParser(description="A pendulum that turns, taught by comparisons of clips.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--comparisons", type=int, default=300)
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    preferences = {"simulated": 0.1, "taste": f"{__file__}:like_turns", "comparisons": given.comparisons}
    gym = known_settings(ENV_ID) | {"total_steps": given.steps, "preferences": preferences}
    config = build_config({"seed": given.seed, "gym": gym})
    with Run(given.out, "gym", config, "auto") as run:
        result = train_gym(config, run)
    turns = np.array(play(given.out))
    kept = float((np.abs(turns - WANTED) < 0.2).mean())
    told = {"comparisons": result["preferences"]["answered"], "accuracy": result["preferences"]["accuracy"]}
    print(json.dumps(told | {"turns_a_second": turns.mean(), "std": turns.std(), "within_a_fifth": kept}))


if __name__ == "__main__":
    sys.exit(run_script(main))
