"""`likelier env`: versions, device and threads, for a report of a problem."""

import os
import platform
from typing import Any

from likelier.cli.answer import JSON, Result, answers


@answers()
def env(json: JSON = False) -> Result:
    """Print versions, device and threads."""
    from likelier.runs.run import versions

    return {**versions(), "platform": platform.platform(), "cores": os.cpu_count(), **accelerator()}


def accelerator() -> dict[str, Any]:
    """What torch would compute on; nulls where it is not installed."""
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
