"""The command line: every verb in the order of the flow; what goes wrong becomes one line and an exit code."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Annotated

import typer

import likelier
from likelier.cli import (
    candidates,
    check,
    circle,
    data,
    demo,
    doctor,
    env,
    evaluate,
    gym,
    mdp,
    preferences,
    prove,
    report,
    search,
    serve,
    settings,
    torchrun,
    train,
)
from likelier.cli.failures import explain
from likelier.errors import Terminated
from likelier.stages import STAGES

app = typer.Typer(
    name="likelier",
    help="People compare a language model's answers; Likelier makes the answers they prefer likelier.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "circle": circle.circle,
    "candidates": candidates.candidates,
    "serve": serve.serve,
    "check": check.check,
    "preferences": preferences.preferences,
    **{verb: train.training_command(stage) for verb, stage in STAGES.items() if verb != "gym"},
    "eval": evaluate.evaluate,
    "report": report.report,
    "doctor": doctor.doctor,
    "prove": prove.prove,
    "search": search.search,
    "mdp": mdp.mdp,
    "gym": gym.gym,
    "env": env.env,
}
"""Every verb in the order of the flow. `gym` takes the id of an environment where other stages take a file."""
HELP = {verb: stage.help for verb, stage in STAGES.items()} | {"search": search.describe()}
"""What is said of commands whose docstring does not say it."""
for name, command in COMMANDS.items():
    app.command(name, help=HELP.get(name))(command)
app.add_typer(data.app, name="data")
app.add_typer(settings.app, name="config")


def show_version(wanted: bool) -> None:
    if wanted:
        print(likelier.__version__)
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code. Results go to stdout, everything else to stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    return in_one_line(lambda: run_verb(words) if words else usage(), words)


def script(work: Callable[[], int | None]) -> int:
    """Run the `main` of a program beside the package, as in `examples/`, with the endings of a verb."""

    def main_of_it() -> int:
        try:
            return work() or 0
        except SystemExit as error:
            if isinstance(error, Terminated):
                raise
            return int(error.code or 0)  # argparse has said why

    return in_one_line(main_of_it, sys.argv)


def in_one_line(work: Callable[[], int], words: Sequence[str]) -> int:
    """The exit code of `work`; whatever ends it becomes one line on stderr and the code of its kind."""
    quieten()
    open_streams()
    with terminated_by_exception():
        try:
            with torchrun.silence_other_ranks():
                return work()
        except BaseException as error:
            if gone_reader(error):
                return 0
            line, code = explain(error, words)
            if torchrun.should_report(error):
                complain(line)
            return code


def run_verb(words: list[str]) -> int:
    torchrun.check_verb(words[0])
    code: int = app(words, prog_name="likelier", standalone_mode=False) or 0
    if code == 128 + signal.SIGINT:  # typer has made an exit code of Ctrl-C
        raise KeyboardInterrupt
    return code


def usage() -> int:
    """A bare `likelier` asked for nothing: the help is no result, so it goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        app(["--help"], prog_name="likelier", standalone_mode=False)
    return 2


def complain(line: str) -> None:
    """One line on stderr, whatever the message holds; a stderr that takes none is no further failure."""
    with contextlib.suppress(OSError):
        print("likelier: " + " ".join(line.split()), file=sys.stderr, flush=True)


def gone_reader(error: BaseException) -> bool:
    """Whether rich ended the help because nobody reads on (`likelier --help | head`)."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)


def open_streams() -> None:
    """Python has no stdout or stderr where the shell closed them (`>&-`): what is written there goes nowhere."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def quieten() -> None:
    """Other people's progress bars and advice stay away, unless the user asks for them in the usual variables."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def terminated_by_exception() -> Iterator[None]:
    """SIGTERM unwinds the stack, so that half-written files are removed. A training run handles it by itself."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
