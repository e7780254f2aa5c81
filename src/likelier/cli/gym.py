"""`likelier gym`: PPO on a Gymnasium environment."""

from typing import Annotated, Any

import typer

from likelier.cli.options import ACCEPT_CHANGES, OUT, OVERRIDES, RESUME, SEED
from likelier.cli.output import JSON, Result, result_command
from likelier.runs.naming import run_folder


@result_command()
def gym(  # noqa: D103 (its help is written from the table of stages)
    env_id: Annotated[
        str,
        typer.Argument(
            metavar="ENV_ID|FILE.yaml",
            help="A registered id, module:Id, file.py:function, an MDP file, or settings with a block `gym`.",
        ),
    ],
    overrides: OVERRIDES = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Environment steps, at most; gym.total_steps.")
    ] = None,
    out: OUT = None,
    resume: RESUME = "never",
    accept_changes: ACCEPT_CHANGES = False,
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    from likelier.runs.shared import train_stage

    options = [f"{name}={value}" for name, value in (("gym.total_steps", steps), ("seed", seed)) if value is not None]
    config, name = load_environment_settings(env_id, [*(overrides or []), *options])
    return train_stage("gym", config, run_folder(name, out, resume), resume, accept_changes)


def load_environment_settings(env_id: str, overrides: list[str]) -> tuple[Any, str]:
    """Settings from a config file, an MDP file or an environment id, and the name of the run."""
    from likelier.config import build_config
    from likelier.control.known import gym_settings

    settings, name = gym_settings(env_id)
    return build_config(settings, overrides, env_id), name
