"""True return against the number of comparisons of clips: `gym.preferences` with a simulated judge, beside PPO on the
true reward and beside clips chosen at random.

`python bench/preferences.py Pendulum-v1 --steps 150000 --comparisons 60 300 1400 --seeds 0 1 2 3 4 --out FILE.jsonl`

A line for each run is added to `--out`; runs that stand there are not repeated. At the end a table on stdout: mean and
range of the seeds' true returns over 100 fresh episodes, with the likeliest actions. `--set` for settings of all runs.
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from likelier.config import build_config
from likelier.control.known import known_settings
from likelier.control.train import train_gym
from likelier.runs.run import Run

ERROR = 0.1
"""Share of the simulated judge's answers that are a coin's."""


def train(env_id: str, steps: int, seed: int, preferences: dict[str, Any] | None, more: list[str]) -> dict[str, Any]:
    """Train once in a temporary folder; returns the result."""
    gym = known_settings(env_id) | {"total_steps": steps, "gif": False, "save_steps": 10**9}
    config = build_config({"seed": seed, "gym": gym | {"preferences": preferences}}, more)
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder), "gym", config) as run:
        return train_gym(config, run)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env_id")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--comparisons", type=int, nargs="+", default=[60, 300, 1400])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=["true", "disagreement", "random"])
    parser.add_argument("--clip-seconds", type=float, default=1.5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    done = {(line["arm"], line["comparisons"], line["seed"]) for line in lines}
    for seed in given.seeds:
        for arm in given.arms:
            for number in given.comparisons if arm != "true" else [0]:
                if (arm, number, seed) in done:
                    continue
                preferences = {
                    "simulated": ERROR,
                    "comparisons": number,
                    "clip_seconds": given.clip_seconds,
                    "choose": arm,
                }
                result = train(given.env_id, given.steps, seed, preferences if number else None, given.set)
                about = {"arm": arm, "comparisons": number, "seed": seed}
                lines.append(about | {key: result.get(key) for key in ("eval_mean", "seconds", "preferences")})
                with given.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    table: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for line in lines:
        table[line["arm"], line["comparisons"]].append(line)
    for (arm, number), found in table.items():
        returns = [line["eval_mean"] for line in found]
        spread = f"{statistics.mean(returns):.1f} (least {min(returns):.1f}, most {max(returns):.1f})"
        accuracy = [line["preferences"]["accuracy"] for line in found if line["preferences"]]
        print(arm, number, spread, f"accuracy {statistics.mean(accuracy):.2f}" if accuracy else "", len(found), "seeds")


if __name__ == "__main__":
    main()
