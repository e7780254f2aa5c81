"""The training stages by their verbs; a stage is imported only when it is asked for."""

from collections.abc import Callable
from typing import Any

from likelier.config import Config
from likelier.runs.run import Run

Trainer = Callable[[Config, Run], dict[str, Any]]


def trainer_of(verb: str) -> Trainer:
    """The stage's training function."""
    if verb == "sft":
        from likelier.finetune.sft import train_sft

        return train_sft
    if verb == "reward":
        from likelier.reward.train import train_reward

        return train_reward
    if verb == "gym":
        from likelier.control.train import train_gym

        return train_gym
    if verb == "dpo":
        from likelier.finetune.dpo import train_dpo

        return train_dpo
    assert verb == "ppo", verb
    from likelier.rlhf.train import train_ppo

    return train_ppo
