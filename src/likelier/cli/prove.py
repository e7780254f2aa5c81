"""`likelier prove`: what every algorithm and KL estimator really optimises, shown against the exact answer."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.answer import JSON, Result, answers

OWN = "own"
COLUMNS = ("algorithm", "estimator", "place", "theory: ends at", "away from pi*", "reached pi*", "away from theory")


def show(result: Result) -> None:
    """The rows as a table, in Markdown where that was asked for, and whether theory holds."""
    from rich.console import Console
    from rich.table import Table

    if result["markdown"]:
        print(markdown(result["rows"]))
        return
    console = Console()
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for row in result["rows"]:
        table.add_row(*cells(row), style=None if row["expected"] == row["reached"] else "red")
    console.print(table, "", sep="\n")
    console.print(summary(result), highlight=False)


def cells(row: dict[str, Any]) -> list[str]:
    names = [row["algorithm"], row["estimator"] or "–", row["place"] or "–", row["fixed_point"]]
    reached = "yes" if row["reached"] else "no"
    return [*names, f"{row['distance']:.4f}", reached, f"{row['fixed_point_distance']:.4f}"]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/prove.md."""
    lines = [COLUMNS, ["---"] * 4 + ["---:", "---", "---:"], *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(result: Result) -> str:
    table = f"{result['responses']} responses of at most {result['length']} of {result['vocabulary']} tokens"
    return f"{table}, beta {result['beta']:g}; distances are KL in nats: {verdict(result)}"


def verdict(result: Result) -> str:
    """Whether theory holds; of one's own loss, for which there is none, whether it reaches pi* and what is nearest."""
    first = result["rows"][0]
    if first["algorithm"] != OWN:
        return "every row ends where theory says" if result["holds"] else "rows in red do not end where theory says"
    if first["reached"]:
        return "your loss reaches pi*"
    near = f"of the ends in docs/prove.md `{first['fixed_point']}` is nearest, {first['fixed_point_distance']:.2g} away"
    return f"your loss does not reach pi*; {near}"


@answers(show)
def prove(
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Draws table and samples.")] = 0,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE.yaml", help="A table of rewards of your own.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="WHERE:FUNCTION",
            help="Only the loss of file.py:function or package.module:function: does it reach pi*?",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the rows as a Markdown table.")] = False,
    json: JSON = False,
) -> Result:
    """Show what each algorithm with each KL estimator really optimises, on a language model whose optimum is known."""
    from likelier.prove.matrix import prove, random_table
    from likelier.prove.table_file import read_table
    from likelier.prove.user_loss import prove_own

    known = random_table(seed) if table is None else read_table(table)
    rows = [prove_own(known, loss, seed)] if loss else prove(known, seed, workers=os.cpu_count() or 1)
    model = known.reference
    return {
        "rows": [asdict(row) for row in rows],
        "holds": all(row.holds for row in rows),
        "vocabulary": model.vocabulary,
        "length": model.length,
        "end_token": model.end_token,
        "responses": len(known.rewards),
        "beta": known.beta,
        "markdown": markdown,
    }
