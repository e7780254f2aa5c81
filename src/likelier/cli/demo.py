"""`likelier demo`: the whole circle with the embedded model and a simulated panel."""

from typing import Annotated

import typer

from likelier.cli.folders import circle_folder
from likelier.cli.options import ACCEPT_CHANGES, OUT, OVERRIDES, RESUME
from likelier.cli.output import JSON, Result, result_command, show_lines
from likelier.errors import ConfigError
from likelier.runs.naming import refuse_idle_acceptance
from likelier.terminal import echo


def show(result: Result) -> None:
    """Print the result in six lines of plain English."""
    if "spammers_planted" not in result:  # a person judged: nobody knows the truth
        show_lines(result)
        return
    low, high = result["win_rate_interval"] or (0.0, 1.0)
    echo(f"People     {result['annotators']} simulated annotators share a hidden taste; some of them misbehave.")
    echo(
        f"Check      misbehaving: {join_ids(result['spammers_planted'])}; found: {join_ids(result['spammers_found'])}."
    )
    echo(f"Reward     a model of the taste, right in {result['reward_accuracy']:.0%} of the held-out comparisons.")
    echo(f"Better?    the new policy wins {result['win_rate']:.0%} ({low:.0%} to {high:.0%}) by the hidden taste,")
    echo(f"           {result['kl']:.1f} nats from the start.")
    echo(f"Report     {result['report']}")


def join_ids(ids: list[str]) -> str:
    """Join annotator ids into an English list."""
    return ", ".join(ids) or "nobody"


@result_command(show)
def demo(
    overrides: OVERRIDES = None,
    out: OUT = None,
    resume: RESUME = "never",
    accept_changes: ACCEPT_CHANGES = False,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Draws the taste, who misbehaves, everything else.")
    ] = 0,
    taste: Annotated[str | None, typer.Option(metavar="NAME", help="The hidden taste; by default the seed's.")] = None,
    people: Annotated[bool, typer.Option("--people", help="You judge, on a page, instead of the panel.")] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Pictures in the place of stories: digits of a diffusion model.")
    ] = False,
    json: JSON = False,
) -> Result:
    """Run the whole circle in a few minutes: an embedded model, twelve simulated annotators, a report.

    With --images settings of `ppo` may be given, such as "ppo.keep_best=true taste".
    """
    refuse_idle_acceptance(resume, accept_changes)
    if images:
        from likelier.demo.pictures import run_picture_demo

        folder = circle_folder("demo", out, resume)
        return run_picture_demo(folder, seed, taste, people, accept_changes, overrides or [])
    if overrides:
        raise ConfigError(f"demo: {overrides[0]}: only --images takes settings; likelier ppo takes them on text")
    from likelier.demo.run import run_demo

    return run_demo(circle_folder("demo", out, resume), seed, taste, people, accept_changes)
