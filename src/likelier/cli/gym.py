"""`likelier gym`: PPO on a Gymnasium environment."""

from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.answer import JSON, Result, answers
from likelier.cli.folders import run_folder
from likelier.cli.options import OUT, OVERRIDES, RESUME, SEED
from likelier.cli.train import train
from likelier.stages import STAGES


@answers()
def gym(
    env_id: Annotated[
        str,
        typer.Argument(
            metavar="ENV_ID|CONFIG.yaml",
            help="A registered id, module:Id, file.py:function, or settings with a block `gym`.",
        ),
    ],
    overrides: OVERRIDES = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Environment steps, at most; gym.total_steps.")
    ] = None,
    out: OUT = None,
    resume: RESUME = "never",
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    options = [f"{name}={value}" for name, value in (("gym.total_steps", steps), ("seed", seed)) if value is not None]
    config, name = load(env_id, [*(overrides or []), *options])
    return train(STAGES["gym"], config, run_folder(name, out, resume), resume)


def load(env_id: str, overrides: list[str]) -> tuple[Any, str]:
    """The settings of a file or of a known environment, and what the run is called."""
    from likelier.config import build_config, load_config
    from likelier.control.known import known_settings

    if env_id.endswith((".yaml", ".yml")):
        return load_config(Path(env_id), overrides), Path(env_id).stem
    config = build_config({"gym": known_settings(env_id)}, overrides, env_id)
    return config, "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in env_id)
