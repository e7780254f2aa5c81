"""`likelier env`: versions, device and threads, to paste into a bug report."""

import os
import platform
from typing import Any

from likelier.cli.output import JSON, Result, result_command


@result_command()
def env(json: JSON = False) -> Result:
    """Print versions, device and threads."""
    from likelier.runs.settings import collect_versions

    return {**collect_versions(), "platform": platform.platform(), "cores": os.cpu_count(), **describe_device()}


def describe_device() -> dict[str, Any]:
    """The device that torch would use; nulls if torch is not installed."""
    try:
        import torch

        from likelier.training.setup import pick_device
    except ModuleNotFoundError:
        return {"device": None, "device_name": None, "threads": None, "bf16": None}
    device = pick_device("auto")
    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "bf16": torch.cuda.is_bf16_supported() if cuda else None,
    }
