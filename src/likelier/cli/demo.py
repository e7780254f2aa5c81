"""`likelier demo`: the whole circle with the embedded model and a simulated panel."""

from typing import Annotated

import typer

from likelier.cli.answer import JSON, Result, answers
from likelier.cli.folders import fresh_folder
from likelier.cli.options import OUT


@answers()
def demo(
    out: OUT = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws the taste, who misbehaves, and everything else.")] = 0,
    taste: Annotated[str | None, typer.Option(metavar="NAME", help="The hidden taste; by default the seed's.")] = None,
    people: Annotated[bool, typer.Option("--people", help="You judge, on a page, instead of the panel.")] = False,
    json: JSON = False,
) -> Result:
    """Show the whole circle in a few minutes: an embedded model, twelve simulated annotators, a report."""
    from likelier.demo.run import run_demo

    return run_demo(fresh_folder("demo", out), seed, taste, people)
