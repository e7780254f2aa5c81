"""The command line. A failure is one line on stderr and an exit code."""

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

import likelier
from likelier.cli import (
    candidates,
    chat,
    check,
    circle,
    data,
    demo,
    doctor,
    env,
    evaluate,
    explain,
    gym,
    mdp,
    plan,
    plan_judgements,
    preferences,
    prove,
    report,
    search,
    serve,
    settings,
    tokens,
    torchrun,
    train,
)
from likelier.cli.process import run_reporting_failures
from likelier.errors import Terminated
from likelier.stages import STAGES
from likelier.terminal import echo

app = typer.Typer(
    name="likelier",
    help="People compare a language model's answers; Likelier makes the answers they prefer likelier.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "circle": circle.circle,
    "plan": plan.plan,
    "candidates": candidates.candidates,
    "serve": serve.serve,
    "check": check.check,
    "plan-judgements": plan_judgements.plan_judgements,
    "preferences": preferences.preferences,
    **{verb: train.training_command(stage) for verb, stage in STAGES.items() if verb != "gym"},
    "ppo": train.ppo,
    "eval": evaluate.evaluate,
    "report": report.report,
    "tokens": tokens.tokens,
    "chat": chat.chat,
    "explain": explain.explain,
    "doctor": doctor.doctor,
    "prove": prove.prove,
    "search": search.search,
    "mdp": mdp.mdp,
    "gym": gym.gym,
    "env": env.env,
}
"""Every command, in the order of the circle. `gym` takes the id of an environment where other stages take a file, and
`ppo` has an option of its own."""
HELP = {verb: stage.help for verb, stage in STAGES.items()} | {"search": search.write_help()}
"""The help of commands that is written from the table of stages; other commands have a docstring."""
for name, command in COMMANDS.items():
    app.command(name, help=HELP.get(name))(command)
app.add_typer(data.app, name="data")
app.add_typer(settings.app, name="config")


def show_version(value: bool) -> None:
    """Print the version and exit."""
    if value:
        echo(likelier.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options that come before the verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Results go to stdout, everything else to stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_reporting_failures(lambda: run_command(words) if words else print_usage(), words)


def run_script(work: Callable[[], int | None]) -> int:
    """Run the `main` of a script such as those in `examples/`; failures are reported as for a command."""

    def run() -> int:
        try:
            return work() or 0
        except SystemExit as error:
            if isinstance(error, Terminated):
                raise
            return int(error.code or 0)  # argparse has printed the reason

    return run_reporting_failures(run, sys.argv)


def run_command(argv: list[str]) -> int:
    """Run one verb; returns its exit code."""
    torchrun.check_verb(argv[0])
    code: int = app(argv, prog_name="likelier", standalone_mode=False) or 0
    if code == 128 + signal.SIGINT:  # typer turns Ctrl-C into an exit code
        raise KeyboardInterrupt
    return code


def print_usage() -> int:
    """Print the help on stderr, since `likelier` without a verb is wrong usage."""
    with contextlib.redirect_stdout(sys.stderr):
        app(["--help"], prog_name="likelier", standalone_mode=False)
    return 2
