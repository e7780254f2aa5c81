"""`likelier mdp`: what a tabular MDP is worth, exactly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.answer import JSON, Result, answers

MOST_COLUMNS = 8
"""States in the table of sweeps."""


def show(result: Result) -> None:
    """A table of states, then what is odd about the file, then how algorithms get there."""
    horizon = "" if result["horizon"] is None else f", horizon {result['horizon']}"
    print(f"{len(result['states'])} states, {len(result['actions'])} actions, gamma {result['gamma']:g}{horizon}\n")
    best = "optimal action" if result["horizon"] is None else "optimal first action"
    head = ["state", "policy value", "optimal value", best]
    policy = result["policy_values"] or dict.fromkeys(result["states"])
    plan = result["optimal_policy"] | dict.fromkeys(result["indifferent"], "–")
    rows = [
        [name, digits(policy[name]), digits(result["optimal_values"][name]), plan[name]] for name in result["states"]
    ]
    show_table(head, rows)
    for (name, remedy), places in grouped(result["problems"]).items():
        print(f"\n{name}: {', '.join(places)}\n  {remedy}")
    if "explain" in result:
        show_sweeps(result["states"], result["explain"]["sweeps"])
        show_learners(result["explain"]["learners"])
        if not result["explain"]["learners"]:
            print("\nno learners: so many states, at each step of the horizon, are too many for a table")


def grouped(problems: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Places by what is said of them."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        found.setdefault((problem["name"], problem["remedy"]), []).append(problem["where"])
    return found


def show_sweeps(states: Sequence[str], sweeps: Sequence[Mapping[str, Any]]) -> None:
    print("\nvalue iteration: V(s) <- max over a of r(s, a) + gamma * sum over t of p(t | s, a) V(t)")
    columns = states[:MOST_COLUMNS]
    rows = [
        [str(each["sweep"]), digits(each["change"]), *(digits(each["values"][name]) for name in columns)]
        for each in sweeps
    ]
    show_table(["sweep", "largest change", *columns], rows)
    if len(states) > MOST_COLUMNS:
        print(f"({len(states) - MOST_COLUMNS} more states: --json shows all)")


def show_learners(learners: Sequence[Mapping[str, Any]]) -> None:
    """How far each algorithm still is from the exact answer, after more and more steps."""
    for learner in learners:
        print(f"\n{learner['name']}: {learner['measure']}")
        show_table(["steps", "distance"], [[f"{at:,}", digits(far)] for at, far in learner["curve"]])


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


@answers(show)
def mdp(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="States, actions, transitions, rewards, gamma.")],
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show value iteration, TD(0), Q-learning, REINFORCE and PPO getting there."),
    ] = False,
    json: JSON = False,
) -> Result:
    """Solve a tabular MDP exactly, and say what is odd about its file."""
    from dataclasses import asdict

    from likelier.mdp.file import read_mdp

    found = read_mdp(file)
    plan = found.plan()
    result: dict[str, Any] = {
        "states": found.states,
        "actions": found.actions,
        "gamma": found.mdp.gamma,
        "horizon": found.mdp.horizon,
        "policy_values": None if found.policy is None else found.values_by_state(found.mdp.policy_values(found.policy)),
        "optimal_values": found.values_by_state(found.mdp.optimal_values()),
        "optimal_policy": plan[0],
        "indifferent": [
            state for state, same in zip(found.states, found.mdp.indifferent_states(), strict=True) if same
        ],
        "problems": [asdict(problem) for problem in found.problems],
    }
    if found.mdp.horizon is not None:
        result["optimal_policy_by_step"] = plan
    if explain:
        from likelier.mdp.explain import explain_mdp

        result["explain"] = explain_mdp(found)
    return result
