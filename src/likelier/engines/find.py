"""Where samplers run: the Python that has vLLM, this one or another, and the GPU."""

import importlib.util
import os
import sys
from pathlib import Path

import torch

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


def find_gpu(device: torch.device, number: int | None = None) -> str | None:
    """Return the name of a CUDA device, by default this process's own, for another process in which it is the only one.

    None: this process computes on something else.
    """
    if device.type != "cuda":
        return None
    if number is None:
        number = torch.cuda.current_device() if device.index is None else device.index
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[number] if visible else str(number)


def find_sampler_gpu(device: torch.device) -> str | None:
    """Return the GPU of a sampler that draws while this process trains, see `find_gpu`: one on which no process of this
    machine trains, where there is one for each, else this process's own."""
    if device.type != "cuda":
        return None
    rank, size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return find_gpu(device, size + rank if torch.cuda.device_count() >= 2 * size else None)
