"""A function out of a user's Python file, named `file.py:function`."""

import contextlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from likelier.errors import ConfigError, LikelierError
from likelier.records import stable_id


def find_function(where: str, what: str) -> Callable[..., Any]:
    """ConfigError, beginning with `what`: no such file or function, or the file does not run.

    What it prints goes to stderr, since stdout holds results.
    """
    path, _, name = where.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"{what} `{where}`: no such file; write file.py:function")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            function = vars(run_file(path)).get(name)
    except LikelierError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(f"{what} `{where}`: {path} raises {brief(error)}") from error
    if not callable(function):
        raise ConfigError(f"{what} `{where}`: {path} has no function `{name}`")
    found: Callable[..., Any] = function
    return found


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


def brief(error: Exception) -> str:
    """The error in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
