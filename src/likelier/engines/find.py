"""Which Python runs vLLM: this one, or one with a virtual environment of its own."""

import importlib.util
import sys
from pathlib import Path

from likelier.errors import ConfigError

FOLDER = Path(".venv-vllm")
"""The virtual environment that `make engines` makes."""


def find_engine_python(given: str | None) -> Path | None:
    """Return the Python that vLLM runs in, as a process of its own; None: vLLM can be imported into this one.

    `given` is the setting `engine_python`. ConfigError: vLLM is nowhere.
    """
    if given is not None:
        python = Path(given).expanduser()
        python = python / "bin" / "python" if python.is_dir() else python
        if not python.is_file():
            raise ConfigError(f"engine_python: {given}: no such file; give the Python of an environment with vLLM")
        return python
    if importlib.util.find_spec("vllm") is not None:
        return None
    for folder in (Path.cwd(), Path(sys.prefix).parent):
        if (python := folder / FOLDER / "bin" / "python").is_file():
            return python
    raise ConfigError(
        f"sampler: vllm: is not installed here, and there is no {FOLDER}: pip install 'likelier[vllm]' on a machine "
        "with a GPU, or `make engines` in a checkout, or name the Python that has it in engine_python"
    )
