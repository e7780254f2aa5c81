"""Turn exceptions into one line for the user and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise

import typer
from typer.exceptions import TyperException

from likelier.errors import UNUSABLE_PATH_ERRORS, LikelierError, Terminated
from likelier.stages import STAGES

EXTRA_OF_PACKAGE = dict.fromkeys(
    ("torch", "transformers", "safetensors", "tokenizers", "jaxtyping", "peft"), "train"
) | {
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "datasets": "datasets",
    "gymnasium": "gym",
    "PIL": "gym",
}
"""The extra that installs a missing package."""
MEMORY_SETTINGS = {stage.verb: stage.memory_setting for stage in STAGES.values()} | {
    "circle": STAGES["ppo"].memory_setting,
    "eval": "eval.batch_size",
    "candidates": "--batch-size",
}
"""The setting to lower when a command runs out of memory."""


def explain_failure(error: BaseException, argv: Sequence[str]) -> tuple[str, int]:
    """(line, exit code) for the exception that ended `likelier *words`."""
    if isinstance(error, LikelierError):
        return str(error), error.exit_code
    if isinstance(error, TyperException):
        return explain_usage(error, argv), 2
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "stopped by Ctrl-C", 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return explain_exit(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in EXTRA_OF_PACKAGE:
        package = error.name.partition(".")[0]
        return f"{package} is not installed; pip install 'likelier[{EXTRA_OF_PACKAGE[package]}]'", 1
    if is_out_of_memory(error):
        setting = MEMORY_SETTINGS.get(argv[0] if argv else "", "the batch size")
        return f"out of memory; lower {setting} ({type(error).__name__}: {error})", 1
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'input/output'}: {error.strerror}", 2 if error.errno in UNUSABLE_PATH_ERRORS else 1
    return describe_bug(error), 1


def explain_exit(error: SystemExit) -> tuple[str, int]:
    """Line and exit code of a SystemExit."""
    if isinstance(error, Terminated):
        return "stopped by SIGTERM; nothing was there to save", 143
    return f"stopped ({error.code})", error.code if isinstance(error.code, int) else 1


def explain_usage(error: TyperException, argv: Sequence[str]) -> str:
    """The parser's message plus the offending value; refers to the command's help unless it suggests a name."""
    message = error.format_message().rstrip(".")
    if isinstance(error, typer.BadParameter) and error.param is not None:
        message += "".join(f", got {word!r}" for word in find_option_values(error.param.opts, argv))
    if "Did you mean" in message or "Possible options" in message:
        return message
    verb = "" if argv[0].startswith("-") or message.startswith("No such command") else f" {argv[0]}"
    return f"{message}; see likelier{verb} --help"


def find_option_values(names: Sequence[str], argv: Sequence[str]) -> list[str]:
    """Values given on the command line to an option, under any of its `names`."""
    after = [value for name, value in pairwise(argv) if name in names]
    return after + [word.partition("=")[2] for word in argv if word.partition("=")[0] in names and "=" in word]


def is_out_of_memory(error: BaseException) -> bool:
    """True for Python's MemoryError, CUDA's error, and the CPU allocator's RuntimeError (known only by its message)."""
    text = str(error)
    of_torch = "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)


def describe_bug(error: BaseException) -> str:
    """Describe an internal error with its source location; LIKELIER_DEBUG also prints the traceback."""
    if os.environ.get("LIKELIER_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    location = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"internal error at {location}: {type(error).__name__}: {error}; LIKELIER_DEBUG=1 shows the traceback"
