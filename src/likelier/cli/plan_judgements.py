"""`likelier plan-judgements`: how many judgements it takes to see a difference."""

from typing import Annotated

import typer

from likelier.cli.options import PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError, DataError
from likelier.terminal import echo, print_table

OVERLAPS = (1, 2, 3)
"""Shown beside the one that was asked for."""


def show(result: Result) -> None:
    """Print a table of overlaps, and what watching takes."""
    echo(
        f"To see a win rate of {result['win_rate']:.1%} (its 95% interval without 50%) with a probability of "
        f"{result['power']:.0%},\nwhere two people give the same answer to {result['agreement']:.0%} of comparisons:"
    )
    rows = [[str(plan[name]) for name in ("overlap", "prompts", "judgements")] for plan in result["plans"]]
    marked = [plan["overlap"] == result["overlap"] for plan in result["plans"]]
    columns = ["people a prompt", "prompts", "judgements"]
    print_table(columns, zip(rows, marked, strict=True), right_aligned=columns)
    echo(
        f"Who looks all the time and stops as soon as the owner's page excludes 50% needs up to {result['watched']:,} "
        "prompts."
    )


@result_command(show)
def plan_judgements(
    win_rate: Annotated[float, typer.Option(metavar="RATE", help="The win rate to be seen.")] = 0.55,
    agreement: Annotated[
        float | None, typer.Option(metavar="SHARE", help="How often two people give the same answer (default: 0.75).")
    ] = None,
    db: Annotated[str, typer.Option("--db", metavar="DB", help="Take the agreement of this feedback database.")] = "",
    overlap: Annotated[int, typer.Option(metavar="N", help="People who judge each prompt.")] = 2,
    power: Annotated[float, typer.Option(metavar="SHARE", help="Probability to see it.")] = 0.8,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Say how many judgements it takes to see that one model's answers are preferred."""
    from likelier.feedback.planning import plan_judgements as plan
    from likelier.feedback.planning import plan_watching

    if db and agreement is not None:
        raise ConfigError("--agreement and --db: give one of them")
    agreement = measure_agreement(db, project) if db else 0.75 if agreement is None else agreement
    plans = [plan(win_rate, agreement, each, power) for each in sorted({*OVERLAPS, overlap})]
    asked = {"win_rate": win_rate, "agreement": agreement, "overlap": overlap, "power": power}
    return {**asked, "plans": [vars(each) for each in plans], "watched": plan_watching(win_rate, power)}


def measure_agreement(db: str, project: str | None) -> float:
    """Return how often two people gave the same answer. DataError: no comparison was judged by two."""
    from likelier.feedback.check import check
    from likelier.feedback.store import Store

    with Store.open(db, project=project) as store:
        agreement = check(store.judged()).agreement
    if agreement is None:
        raise DataError(f"{db}: no comparison was judged by two people; give --agreement")
    return agreement
