"""A function out of a user's Python file, named `file.py:function`."""

import contextlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from likelier.errors import ConfigError, LikelierError, Terminated
from likelier.files import no_file, stable_id


def find_function(where: str, what: str) -> Callable[..., Any]:
    """ConfigError, beginning with `what`: no such file or function, or the file does not run."""
    path, _, name = where.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"{what} `{where}`: {no_file(Path(path))}; write file.py:function")
    with users_code(f"{what} `{where}`: {path}", ConfigError):
        function = vars(run_file(path)).get(name)
    if not callable(function):
        raise ConfigError(f"{what} `{where}`: {path} has no function `{name}`")
    found: Callable[..., Any] = function
    return found


@contextlib.contextmanager
def users_code(what: str, failure: type[LikelierError]) -> Iterator[None]:
    """A user's code may raise anything, and call `sys.exit`: `failure` says so in one line, beginning with `what`.

    What it prints goes to stderr, since stdout holds results.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (LikelierError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raise failure(f"{what} raises {brief(error)}") from error


def run_file(path: str) -> ModuleType:
    """A Python file as a module under a name of its own, where dataclasses and others look it up."""
    name = f"likelier_function_{stable_id(str(Path(path).resolve()))}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def brief(error: BaseException) -> str:
    """The error in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
