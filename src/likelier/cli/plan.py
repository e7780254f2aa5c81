"""`likelier plan`: memory, time and cost of a run before it begins."""

from typing import Annotated, Any

import typer

from likelier.cli.options import CONFIG, OVERRIDES
from likelier.cli.output import JSON, Result, result_command
from likelier.cli.train import load_settings
from likelier.errors import ConfigError
from likelier.terminal import echo, print_table

GB = 1e9


def show(result: Result) -> None:
    """Print what each stage takes, and what to change where it does not fit."""
    machine = result["machine"]
    for name, plan in result["stages"].items():
        show_stage(name, plan, machine)


def show_stage(name: str, plan: dict[str, Any], machine: dict[str, Any]) -> None:
    """Print the plan of a stage."""
    memory = plan["memory"]
    need, there = memory["peak_bytes"] / GB, machine["memory_bytes"] / GB
    verdict = "fits" if plan["fits"] else "does NOT fit"
    place = machine["name"] if machine["name"] == "CPU" else f"{machine['gpus']} x {machine['name']}"
    echo(f"{name}: up to {need:.1f} GB, in the phase `{memory['phase']}`; {verdict} ({place}, {there:.0f} GB)")
    rows = [([part, f"{size / GB:.2f}"], False) for part, size in memory["parts"].items()]
    print_table(["memory", "GB"], rows, right_aligned=["GB"])
    if plan["iteration_seconds"] is not None:
        phases = ", ".join(f"{phase} {format_time(each)}" for phase, each in plan["phase_seconds"].items())
        echo(f"an iteration: {format_time(plan['iteration_seconds'])} ({phases})")
    if plan["seconds"] is not None:
        cost = "" if plan["cost"] is None else f", {plan['cost']:,.2f} at that price"
        echo(f"in all: {plan['steps']:,} iterations, {plan['tokens']:,} tokens, {format_time(plan['seconds'])}{cost}")
    if other := memory["parts"].get("other", 0):
        least, most = ((memory["peak_bytes"] + sign * other) / GB for sign in (-1, 1))
        echo(f"note: {least:.1f} to {most:.1f} GB, as C's allocator uses freed memory again or keeps it (other)")
    for note in plan["notes"]:
        echo(f"note: {note}")
    if not plan["fits"]:
        show_changes(plan["changes"], machine["memory_bytes"])


def show_changes(changes: list[dict[str, Any]], memory: int) -> None:
    """Print settings to change, and what is needed with each and those before it."""
    rows = [
        ([each["setting"], f"{each['peak'] / GB:.1f}", format_or_dash(each["iteration"]), each["costs"]], False)
        for each in changes
    ]
    if rows:
        echo("change, what costs least first, each on top of those before it:")
        print_table(["setting", "GB", "iteration", "costs"], rows, right_aligned=["GB", "iteration"])
    if not changes or changes[-1]["peak"] > memory:
        echo("that is not enough: take a smaller model or a larger machine")


def format_or_dash(seconds: float | None) -> str:
    """Return seconds in the unit that suits them, or a dash."""
    return "–" if seconds is None else format_time(seconds)


def format_time(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@result_command(show)
def plan(
    config: CONFIG,
    overrides: OVERRIDES = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME|SIZE", help="A GPU by name (H100), or by memory alone (24GB).")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", min=1, help="GPUs of that kind.")] = 1,
    price: Annotated[
        float | None, typer.Option("--price", metavar="PER_HOUR", min=0, help="Of one GPU and hour.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option(" /--no-calibrate", help="Do not measure this CPU; then there are no times for it.")
    ] = True,
    json: JSON = False,
) -> Result:
    """Say what a run takes before it begins: memory, time, tokens, cost, and what to change where it does not fit."""
    from likelier.plan.machine import find_machine
    from likelier.plan.plan import describe_machine, make_plans

    if price is not None and gpu is None:
        raise ConfigError("--price: it is that of a GPU; give --gpu too")
    settings = load_settings(config, overrides, None)
    machine = find_machine(gpu, gpus, calibrate)
    plans = make_plans(settings, machine)
    stages = {each.stage: each.to_json(machine.memory, price, machine.count) for each in plans}
    fits = all(stage["fits"] for stage in stages.values())
    return {"machine": describe_machine(machine), "fits": fits, "stages": stages}
