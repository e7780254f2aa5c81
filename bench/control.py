"""Speed of whole training runs on CartPole-v1 beside Stable-Baselines3 and CleanRL, with equal settings.

`python bench/control.py [--sb3 FOLDER] [--cleanrl ppo.py] [--steps 50000] [--runs 3] [--goal]`

Neither is among the dependencies: `pip install --no-deps --target FOLDER stable-baselines3`; CleanRL's `ppo.py` (one
for gymnasium) from its repository. Runs alternate, each in a process of its own with one thread; wall time of training
alone, the best of `--runs`. `--goal`: seconds until the mean return of the last 100 training episodes is 475, with
rl-zoo's settings, over the seeds 0 to `--runs` - 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "sb3 defaults": {
        "num_envs": 1,
        "rollout_length": 2048,
        "num_mini_batches": 32,
        "num_ppo_epochs": 10,
        "learning_rate": 3e-4,
        "lr_schedule": "constant",
        "gamma": 0.99,
        "lam": 0.95,
        "vf_coef": 0.5,
    },
    "rl-zoo": {
        "num_envs": 8,
        "rollout_length": 32,
        "num_mini_batches": 1,
        "num_ppo_epochs": 20,
        "learning_rate": 1e-3,
        "lr_schedule": "linear",
        "cliprange_schedule": "linear",
        "gamma": 0.98,
        "lam": 0.8,
        "vf_coef": 0.5,
    },
    "cleanrl": {
        "num_envs": 4,
        "rollout_length": 128,
        "num_mini_batches": 4,
        "num_ppo_epochs": 4,
        "learning_rate": 2.5e-4,
        "lr_schedule": "linear",
        "gamma": 0.99,
        "lam": 0.95,
        "entropy_coef": 0.01,
        "cliprange_value": 0.2,
        "vf_coef": 0.5,
    },
}
GOAL = 475.0


def likelier(name: str, steps: int, seed: int, goal: bool) -> dict[str, Any]:
    """Our own run; its settings otherwise are the defaults, checkpoints and logs among them."""
    from likelier.config import build_config
    from likelier.control.train import train_gym
    from likelier.runs.run import Run

    gym = {"env_id": "CartPole-v1", "total_steps": steps, "num_eval_episodes": 1, "gif": False} | SETTINGS[name]
    gym |= {"normalize_observations": False, "normalize_rewards": False}
    with tempfile.TemporaryDirectory() as folder:
        with Run(Path(folder) / "run", "gym", build_config({"gym": gym, "seed": seed})) as run:
            found = train_gym(build_config({"gym": gym, "seed": seed}), run)
        seconds = seconds_to_goal(Path(folder) / "run") if goal else None
    return {"steps_per_second": found["steps_per_second"], "seconds_to_goal": seconds}


def seconds_to_goal(run: Path) -> float | None:
    """Time of all steps up to the first whose mean return reaches the goal."""
    elapsed = 0.0
    pairs = zip((run / "metrics.jsonl").open(), (run / "timing.jsonl").open(), strict=True)
    for metrics, timing in ((json.loads(a), json.loads(b)) for a, b in pairs):
        elapsed += sum(value for key, value in timing.items() if key.endswith("_seconds"))
        if metrics["episodes"] >= 100 and metrics["mean_return"] >= GOAL:
            return elapsed
    return None


def stable_baselines3(name: str, steps: int, seed: int, goal: bool) -> dict[str, Any]:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    own = SETTINGS[name]
    reached: list[float] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            returns = [info["r"] for info in self.model.ep_info_buffer]
            if len(returns) == 100 and statistics.fmean(returns) >= GOAL:
                reached.append(time.perf_counter() - began)
                return False
            return True

    def annealed(start: float, linear: bool) -> Any:
        return (lambda left: left * start) if linear else start

    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", own["num_envs"], seed=seed),
        learning_rate=annealed(own["learning_rate"], own["lr_schedule"] == "linear"),
        clip_range=annealed(0.2, own.get("cliprange_schedule") == "linear"),
        n_steps=own["rollout_length"],
        batch_size=own["num_envs"] * own["rollout_length"] // own["num_mini_batches"],
        n_epochs=own["num_ppo_epochs"],
        gamma=own["gamma"],
        gae_lambda=own["lam"],
        ent_coef=own.get("entropy_coef", 0.0),
        vf_coef=own["vf_coef"],
        seed=seed,
        device="cpu",
    )
    began = time.perf_counter()
    model.learn(steps, callback=Watch() if goal else None)
    seconds = time.perf_counter() - began
    return {"steps_per_second": model.num_timesteps / seconds, "seconds_to_goal": reached[0] if reached else None}


def clean_rl(script: Path, steps: int, seed: int) -> dict[str, Any]:
    """CleanRL's script as it stands, with its own settings; the last `SPS` that it prints."""
    words = [sys.executable, str(script.resolve()), "--total-timesteps", str(steps), "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    last = [line for line in done.stdout.splitlines() if line.startswith("SPS:")][-1]
    return {"steps_per_second": float(last.partition(":")[2])}


def apart(who: str, name: str, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run in a process of its own."""
    words = [sys.executable, __file__, "--one", who, name, "--steps", str(args.steps), "--seed", str(seed)]
    words += ["--goal"] if args.goal else []
    path = os.pathsep.join(filter(None, [args.sb3, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3", help="folder that holds stable_baselines3")
    parser.add_argument("--cleanrl", type=Path, help="CleanRL's ppo.py")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--goal", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        train = {"likelier": likelier, "sb3": stable_baselines3}[args.one[0]]
        print(json.dumps(train(args.one[1], args.steps, args.seed, args.goal)))
        return
    measured: dict[str, list[dict[str, Any]]] = {}
    for seed in range(args.runs):
        for name in ["rl-zoo"] if args.goal else SETTINGS:
            rivals = ["likelier"] + (["sb3"] if args.sb3 and name != "cleanrl" else [])
            for who in rivals:
                measured.setdefault(f"{name}: {who}", []).append(apart(who, name, args, seed))
            if args.cleanrl and name == "cleanrl":
                measured.setdefault("cleanrl: cleanrl", []).append(clean_rl(args.cleanrl, args.steps, seed))
    for name, runs in measured.items():
        print(f"{name:28} {max(run['steps_per_second'] for run in runs):8,.0f} steps/s", end="")
        print(f"   to {GOAL:.0f}: {[run['seconds_to_goal'] for run in runs]} s" if args.goal else "")
    print(json.dumps({"load": os.getloadavg(), "runs": measured}))


if __name__ == "__main__":
    main()
