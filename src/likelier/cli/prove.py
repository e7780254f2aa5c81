"""`likelier prove`: the fixed points of algorithms and KL estimators, compared with the exact optimum."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.output import JSON, Result, result_command
from likelier.terminal import echo, print_table

USER_LOSS = "own"
COLUMNS = (
    "algorithm",
    "estimator",
    "place",
    "group",
    "theory: ends at",
    "away from pi*",
    "reached pi*",
    "away from theory",
)


def show(result: Result) -> None:
    """Print the rows as a table (with --markdown in Markdown) and whether they converge as theory predicts."""
    if result["markdown"]:
        echo(to_markdown(result["rows"]))
        return
    print_table(COLUMNS, [(format_row(row), row["expected"] != row["reached"]) for row in result["rows"]])
    echo(describe(result))


def format_row(row: dict[str, Any]) -> list[str]:
    """Format one row as table cells."""
    settings = [row[name] or "–" for name in ("estimator", "place", "group")]
    names = [row["algorithm"], *map(str, settings), row["fixed_point"]]
    reached = "yes" if row["reached"] else "no"
    return [*names, f"{row['distance']:.4f}", reached, f"{row['fixed_point_distance']:.4f}"]


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Render the table of docs/prove.md."""
    lines = [COLUMNS, ["---"] * 3 + ["---:", "---", "---:", "---", "---:"], *map(format_row, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe(result: Result) -> str:
    """Describe the tabular model and the verdict in one line."""
    table = f"{result['responses']} responses of at most {result['length']} of {result['vocabulary']} tokens"
    return f"{table}, beta {result['beta']:g}; distances are KL in nats: {verdict(result)}"


def verdict(result: Result) -> str:
    """State whether all rows converge as predicted; for a user's loss, whether to pi*, or the nearest fixed point."""
    first = result["rows"][0]
    if first["algorithm"] != USER_LOSS:
        return "every row ends where theory says" if result["holds"] else "rows in red do not end where theory says"
    if first["reached"]:
        return "your loss reaches pi*"
    nearest = (
        f"of the ends in docs/prove.md `{first['fixed_point']}` is nearest, {first['fixed_point_distance']:.2g} away"
    )
    return f"your loss does not reach pi*; {nearest}"


@result_command(show)
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
    """Show what each algorithm with each KL estimator really optimises, on a language model whose optimum is known.

    Takes about 40 seconds on two idle cores; with --loss about 10.
    """
    from likelier.prove.matrix import prove, random_table
    from likelier.prove.table_file import read_table
    from likelier.prove.user_loss import prove_own

    rewards = random_table(seed) if table is None else read_table(table)
    rows = [prove_own(rewards, loss, seed)] if loss else prove(rewards, seed, workers=os.cpu_count() or 1)
    model = rewards.reference
    return {
        "rows": [asdict(row) for row in rows],
        "holds": all(row.holds for row in rows),
        "vocabulary": model.vocabulary,
        "length": model.length,
        "end_token": model.end_token,
        "responses": len(rewards.rewards),
        "beta": rewards.beta,
        "markdown": markdown,
    }
