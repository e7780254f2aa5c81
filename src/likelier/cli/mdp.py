"""`likelier mdp`: exact values and optimal policy of a tabular MDP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.options import OVERWRITE
from likelier.cli.output import JSON, Result, result_command
from likelier.terminal import echo

MAX_COLUMNS = 8
"""States shown in the table of sweeps."""


def show(result: Result) -> None:
    """Print a table of states, then problems of the file, then the progress of each algorithm."""
    horizon = "" if result["horizon"] is None else f", horizon {result['horizon']}"
    echo(f"{len(result['states'])} states, {len(result['actions'])} actions, gamma {result['gamma']:g}{horizon}\n")
    best = "optimal action" if result["horizon"] is None else "optimal first action"
    head = ["state", "policy value", "optimal value", best]
    policy = result["policy_values"] or dict.fromkeys(result["states"])
    plan = result["optimal_policy"] | dict.fromkeys(result["indifferent"], "–")
    rows = [
        [name, format_number(policy[name]), format_number(result["optimal_values"][name]), plan[name]]
        for name in result["states"]
    ]
    show_table(head, rows)
    for (name, remedy), places in group_places(result["problems"]).items():
        echo(f"\n{name}: {', '.join(places)}\n  {remedy}")
    if "plot" in result:
        echo(f"\nvalues and policy are drawn in {result['plot']}")
    if "explain" in result:
        show_sweeps(result["states"], result["explain"]["sweeps"])
        show_learners(result["explain"]["learners"])
        if not result["explain"]["learners"]:
            echo("\nno learners: so many states, at each step of the horizon, are too many for a table")


def group_places(problems: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Group the places of problems by name and remedy."""
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem["name"], problem["remedy"]), []).append(problem["where"])
    return groups


def show_sweeps(states: Sequence[str], sweeps: Sequence[Mapping[str, Any]]) -> None:
    """Print the sweeps of value iteration as a table."""
    echo("\nvalue iteration: V(s) <- max over a of r(s, a) + gamma * sum over t of p(t | s, a) V(t)")
    columns = states[:MAX_COLUMNS]
    rows = [
        [
            str(sweep["sweep"]),
            format_number(sweep["change"]),
            *(format_number(sweep["values"][name]) for name in columns),
        ]
        for sweep in sweeps
    ]
    show_table(["sweep", "largest change", *columns], rows)
    if len(states) > MAX_COLUMNS:
        echo(f"({len(states) - MAX_COLUMNS} more states: --json shows all)")


def show_learners(learners: Sequence[Mapping[str, Any]]) -> None:
    """Print each algorithm's distance from the exact solution over its steps."""
    for learner in learners:
        echo(f"\n{learner['name']}: {learner['measure']}")
        show_table(
            ["steps", "distance"], [[f"{step:,}", format_number(distance)] for step, distance in learner["curve"]]
        )


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, columns aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def format_number(value: float | None) -> str:
    """Format to six significant digits; a dash for None."""
    return "–" if value is None else f"{value:.6g}"


@result_command(show)
def mdp(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="States, actions, transitions, rewards, gamma.")],
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show value iteration, TD(0), Q-learning, REINFORCE and PPO getting there."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw values and policy, a grid with arrows.")
    ] = None,
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Solve a tabular MDP exactly, and list suspicious places in its file."""
    from dataclasses import asdict

    from likelier.mdp.file import read_mdp
    from likelier.mdp.plot import check_plot, write_plot

    if plot is not None:
        check_plot(plot, overwrite, file)

    tabular = read_mdp(file)
    plan, policy = tabular.plan(), tabular.policy
    policy_values = None if policy is None else tabular.values_by_state(tabular.mdp.policy_values(policy))
    indifferent = zip(tabular.states, tabular.mdp.indifferent_states(), strict=True)
    result: dict[str, Any] = {
        "states": tabular.states,
        "actions": tabular.actions,
        "gamma": tabular.mdp.gamma,
        "horizon": tabular.mdp.horizon,
        "policy_values": policy_values,
        "optimal_values": tabular.values_by_state(tabular.mdp.optimal_values()),
        "optimal_policy": plan[0],
        "indifferent": [state for state, is_indifferent in indifferent if is_indifferent],
        "problems": [asdict(problem) for problem in tabular.problems],
    }
    if tabular.mdp.horizon is not None:
        result["optimal_policy_by_step"] = plan
    if explain:
        from likelier.mdp.explain import explain_mdp

        result["explain"] = explain_mdp(tabular)
    if plot is not None:
        write_plot(tabular, plot)
        result["plot"] = plot
    return result
