"""User-written functions: `file.py:function` or `package.module:function`."""

import contextlib
import difflib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from likelier.errors import ConfigError, LikelierError, Terminated
from likelier.files import explain_unreadable, stable_id


def find_function(import_string: str, role: str) -> Callable[..., Any]:
    """Import `file.py:function` or `package.module:function`; modules are searched for in the working folder first.

    ConfigError, beginning with `role` and `import_string`: no such file, module or name, an error during import, or an
    object that is not callable.
    """
    source, _, name = import_string.rpartition(":")
    label = f"{role} `{import_string}`"
    if not source or not name:
        raise ConfigError(f"{label}: write file.py:function or package.module:function")
    if is_module_name(source):
        module = import_user_module(source, label)
    elif Path(source).is_file():
        with user_code_errors(f"{label}: {source}", ConfigError):
            module = run_file(source)
    else:
        raise ConfigError(
            f"{label}: {explain_unreadable(Path(source))}; write file.py:function or package.module:function"
        )
    with user_code_errors(f"{label}: {source}", ConfigError):
        function = getattr(module, name, None)  # not vars(module): a package may load its names lazily
    if function is None:
        near = difflib.get_close_matches(name, [each for each, value in vars(module).items() if callable(value)], 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ConfigError(f"{label}: {source} has no function `{name}`{hint}")
    if not callable(function):
        raise ConfigError(f"{label}: `{name}` in {source} is of type {type(function).__name__}, not a function")
    users_function: Callable[..., Any] = function
    return users_function


def is_module_name(path: str) -> bool:
    """True for dotted identifiers such as `package.module`, unless a file of that name exists (`reward.py` is one)."""
    return all(map(str.isidentifier, path.split("."))) and not path.endswith(".py") and not Path(path).is_file()


def find_module_source(name: str) -> Path | None:
    """The source file of a module, installed or in the working folder, found without running code; None without one."""
    search_working_folder()
    folders: Sequence[str] | None = None
    spec = None
    for end in [*(position for position, letter in enumerate(name) if letter == "."), len(name)]:
        spec = importlib.machinery.PathFinder.find_spec(name[:end], folders)
        if spec is None:
            return None
        folders = spec.submodule_search_locations or []
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def import_user_module(name: str, label: str) -> ModuleType:
    """Import a module, installed or in the working folder. ConfigError, beginning with `label`: that fails."""
    search_working_folder()
    with user_code_errors(f"{label}: {name}", ConfigError):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and one that it imports is not
            raise ConfigError(
                f"{label}: no module `{error.name}`, neither installed nor in the working folder; "
                "write package.module:function or file.py:function"
            ) from error


def search_working_folder() -> None:
    """Add the working folder to the import path, as `python -m` does and a console script does not."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


@contextlib.contextmanager
def user_code_errors(label: str, failure: type[LikelierError]) -> Iterator[None]:
    """Run user code in the block: any exception, `sys.exit` included, becomes a one-line `failure` that begins with
    `label`. Output goes to stderr, since stdout is for results."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (LikelierError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raise failure(f"{label} raises {summarise_error(error)}") from error


def run_file(path: str) -> ModuleType:
    """Run a Python file as a module registered in `sys.modules`, where dataclasses look it up."""
    name = f"likelier_function_{stable_id(str(Path(path).resolve()))}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def summarise_error(error: BaseException) -> str:
    """Format an error in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
