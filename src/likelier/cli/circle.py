"""`likelier circle`: the whole circle with the user's own model, prompts and people."""

from typing import Annotated

import typer

from likelier.cli.folders import circle_folder
from likelier.cli.options import ACCEPT_CHANGES, CONFIG, OUT, OVERRIDES, RESUME, SEED
from likelier.cli.output import JSON, Result, result_command
from likelier.cli.train import load_settings
from likelier.runs.naming import refuse_idle_acceptance


@result_command()
def circle(
    config: CONFIG,
    overrides: OVERRIDES = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Times around the circle.")] = 1,
    out: OUT = None,
    resume: RESUME = "never",
    accept_changes: ACCEPT_CHANGES = False,
    seed: SEED = None,
    json: JSON = False,
) -> Result:
    """Run the whole circle with your own model, prompts and people."""
    from likelier.circle import run_circle

    settings = load_settings(config, overrides, seed)
    refuse_idle_acceptance(resume, accept_changes)
    folder = circle_folder(config.stem, out, resume)
    return run_circle(settings, folder, rounds, accept_changes=accept_changes)
