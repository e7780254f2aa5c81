"""`likelier doctor`: findings about a run, or about its config before it starts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from likelier.cli.folders import new_folder
from likelier.cli.options import OUT, OVERRIDES
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError
from likelier.terminal import echo


def show(result: Result) -> None:
    """Print each finding with evidence, cause and remedy; with --zoo one line for each config."""
    for bug in result.get("zoo", ()):
        reported = ", ".join(bug["found"]) or "nothing"
        echo(f"{'ok  ' if bug['caught'] else 'MISS'}  {bug['config']:<28}  found {reported}")
    for finding in result["findings"]:
        echo(f"{finding['severity']:<8} {finding['name']} (step {finding['step']})")
        for key in ("evidence", "cause", "remedy"):
            echo(f"  {key:<9}{finding[key]}")
    if not result["findings"] and "zoo" not in result:
        echo(result.get("in_words", "No findings."))


@result_command(show)
def doctor(
    target: Annotated[
        Path | None,
        typer.Argument(metavar="RUN|CONFIG.yaml", help="Folder of a run, or settings to look at before it."),
    ] = None,
    overrides: OVERRIDES = None,
    zoo: Annotated[bool, typer.Option("--zoo", help="Run a config for each finding that causes it: PPO bugs.")] = False,
    out: OUT = None,
    json: JSON = False,
) -> Result:
    """Name what is wrong with a run (or, from its config, before it begins), why, and what to do."""
    if zoo:
        if target is not None:
            raise ConfigError(f"doctor --zoo takes no other argument, got {target}")
        from likelier.bugs.run import run_bugs

        return run_bugs(new_folder("zoo", out))
    if target is None:
        raise ConfigError("doctor: give the folder of a run, a config, or --zoo")
    if target.is_dir():
        return examine_folder(target, overrides)
    from likelier.config import load_config
    from likelier.doctor.preflight import preflight

    return {"config": target, **preflight(load_config(target, overrides or []))}


def examine_folder(folder: Path, overrides: list[str] | None) -> dict[str, Any]:
    """The findings of a run. ConfigError: settings were given too."""
    from likelier.doctor.examine import examine_run
    from likelier.doctor.findings.history import explain_silence
    from likelier.files import read_log, read_object

    if overrides:
        raise ConfigError(f"doctor: {overrides[0]}: a run has its settings; only a config takes others")
    findings = examine_run(folder)
    if findings:
        return {"run": folder, "findings": findings}
    in_words = explain_silence(len(read_log(folder / "metrics.jsonl")), read_object(folder / "result.json"))
    return {"run": folder, "findings": findings, "in_words": in_words}
