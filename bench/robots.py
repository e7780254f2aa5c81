"""Returns on MuJoCo beside CleanRL's script: the same settings, steps and versions, seed by seed.

`python bench/robots.py --cleanrl ppo_continuous_action.py --out runs/mujoco.jsonl [--envs ...] [--seeds 0 1 2]`

Needs `pip install 'gymnasium[mujoco]'`, and CleanRL's script for gymnasium 1 from its repository. A run's figure is the
mean undiscounted return of its last 100 training episodes, for both. Each run is a line of `--out`; what stands there
is not run again. At the end: mean and spread, and the difference with a 95 % interval (Welch's t over the seeds).
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scipy.stats import ttest_ind

ENVIRONMENTS = ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"]


def likelier(env_id: str, seed: int, steps: int) -> float:
    """In a process of its own, as the script begins; Likelier brings the script's settings for these environments."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "likelier", "gym", env_id, "--seed", str(seed), "--steps", str(steps)]
        words += ["--out", "run", "--json", "gym.num_eval_episodes=1", "gym.gif=false"]
        found: dict[str, float] = json.loads(printed(words, folder))
    return found["mean_return"]


def clean_rl(script: Path, env_id: str, seed: int, steps: int) -> float:
    words = [sys.executable, str(script.resolve()), "--env-id", env_id, "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        text = printed([*words, "--total-timesteps", str(steps)], folder)
    return statistics.fmean([float(found) for found in re.findall(r"episodic_return=\[?(-?[\d.]+)", text)][-100:])


def printed(words: list[str], folder: str) -> str:
    """What a command prints; one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cleanrl", type=Path, required=True, help="CleanRL's ppo_continuous_action.py")
    parser.add_argument("--out", type=Path, required=True, help="a line for each run; those that are there are kept")
    parser.add_argument("--envs", nargs="+", default=ENVIRONMENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1_000_000)
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    done = {(run["env"], run["who"], run["seed"]): run["return"] for run in map(json.loads, lines)}
    for seed in given.seeds:
        for env_id in given.envs:
            for who in ("likelier", "cleanrl"):
                if (env_id, who, seed) in done:
                    continue
                began = time.monotonic()
                run = (env_id, seed, given.steps)
                reached = likelier(*run) if who == "likelier" else clean_rl(given.cleanrl, *run)
                done[env_id, who, seed] = reached
                line = {"env": env_id, "who": who, "seed": seed, "steps": given.steps, "return": reached}
                with given.out.open("a") as file:
                    print(json.dumps(line | {"seconds": round(time.monotonic() - began)}), file=file)
    for env_id in given.envs:
        ours, theirs = ([done[env_id, who, seed] for seed in given.seeds] for who in ("likelier", "cleanrl"))
        low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval()
        spread = [f"{statistics.fmean(x):.0f} ± {statistics.stdev(x):.0f}" for x in (ours, theirs)]
        difference = statistics.fmean(ours) - statistics.fmean(theirs)
        print(f"{env_id:16} ours {spread[0]}, CleanRL {spread[1]}, difference {difference:.0f} [{low:.0f}, {high:.0f}]")


if __name__ == "__main__":
    main()
