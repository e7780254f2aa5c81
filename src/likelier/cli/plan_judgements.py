"""`likelier plan-judgements`: how many judgements it takes to see a difference."""

from typing import Annotated

import typer

from likelier.cli.options import PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError, DataError
from likelier.progress import print_note
from likelier.terminal import echo, print_table

DEFAULT_AGREEMENT = 0.75
OVERLAPS = (1, 2, 3)
"""Shown beside the one that was asked for."""


def show(result: Result) -> None:
    """Print a table of overlaps, and what watching takes."""
    echo(
        f"To see a win rate of {result['win_rate']:.1%} (its 95% interval without 50%) with a probability of "
        f"{result['power']:.0%},\nwhere two people give the same answer to {result['agreement']:.0%} of comparisons"
        + (f", and {result['ties']:.0%} of answers are ties, which decide nothing:" if result["ties"] else ":")
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
        float | None,
        typer.Option(
            metavar="SHARE",
            help="How often two people give the same answer, ties left out (default: 0.75, or more if chance is).",
        ),
    ] = None,
    db: Annotated[
        str, typer.Option("--db", metavar="DB", help="Take agreement and ties of this feedback database.")
    ] = "",
    overlap: Annotated[int, typer.Option(metavar="N", help="People who judge each prompt.")] = 2,
    power: Annotated[float, typer.Option(metavar="SHARE", help="Probability to see it.")] = 0.8,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Say how many judgements it takes to see that one model's answers are preferred."""
    from likelier.feedback.planning import agree_by_chance, check_plan, plan_watching
    from likelier.feedback.planning import plan_judgements as plan

    if db and agreement is not None:
        raise ConfigError("--agreement and --db: give one of them")
    chance, ties = agree_by_chance(win_rate), 0.0
    if db:
        check_plan(win_rate, 1.0, overlap, power)
        agreement, ties = measure_agreement(db, project)
        if agreement < chance:
            print_note(
                f"{db}: two people agree in {agreement:.1%} of what neither called a tie, which is no more than by "
                f"chance where the win rate is {win_rate} ({chance:.1%}); planned for that"
            )
    if db or agreement is None:
        agreement = max(agreement or DEFAULT_AGREEMENT, chance)
    plans = [plan(win_rate, agreement, each, power, ties) for each in sorted({*OVERLAPS, overlap})]
    asked = {"win_rate": win_rate, "agreement": agreement, "overlap": overlap, "power": power, "ties": ties}
    return {**asked, "plans": [vars(each) for each in plans], "watched": plan_watching(win_rate, power)}


def measure_agreement(db: str, project: str | None) -> tuple[float, float]:
    """Return how often two people gave the same answer where neither called a tie, and the share of ties.

    DataError: no comparison was judged by two without a tie.
    """
    from likelier.feedback.agreement import tabulate
    from likelier.feedback.store import Store
    from likelier.feedback.votes import arrange_votes

    with Store.open(db, project=project) as store:
        votes = arrange_votes([entry for entry in store.judged() if not entry.judgement.adjudicates])[0]
    votes = votes.select(votes.is_vote & (votes.annotator >= 0))
    decided = votes.select(votes.sign != 0)
    table = tabulate(decided.comparison.tolist(), decided.annotator.tolist(), decided.labels.tolist())
    agreement = table.agreement()
    if agreement is None:
        raise DataError(f"{db}: no comparison was judged by two people without a tie; give --agreement")
    return agreement, 1 - len(decided.sign) / len(votes.sign)
