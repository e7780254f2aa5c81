"""A PPO training in a second: a tiny model, six prompts and a reward, with settings that leave the numbers legible."""

import json
from pathlib import Path
from typing import Any

from likelier.config import Config, build_config
from likelier.files import write_jsonl
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from tiny import save_tiny_model


def make_world(folder: Path, reward: str) -> Path:
    """A model, prompts and the source of a function `reward` in a folder."""
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "reward.py").write_text(reward)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    return folder


def make_config(world: Path, **settings: Any) -> Config:
    """Three steps of one minibatch: advantages are not whitened, gradients not clipped."""
    block = {"batch_size": 8, "total_episodes": 24, "response_length": 4, "learning_rate": 0.01, "num_mini_batches": 1}
    block |= {"save_steps": 1, "kl_coef": 0.1, "device": "cpu", "num_ppo_epochs": 1, **settings}
    block |= {"whiten_advantages": False, "max_grad_norm": 1e6}
    paths = {"model": str(world / "model"), "prompts": str(world / "prompts.jsonl")}
    return build_config({**paths, "reward": [{"function": f"{world / 'reward.py'}:reward"}], "ppo": block})


def train(config: Config, folder: Path, resume: str = "never") -> list[dict[str, Any]]:
    """Train; the metrics of each step."""
    with Run(folder, "ppo", config, resume) as run:
        train_ppo(config, run)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
