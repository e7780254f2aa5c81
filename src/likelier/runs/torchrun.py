"""The place of this process among those that torchrun started."""

import os


def torchrun_rank() -> tuple[int, int]:
    """(rank, number of processes) from torchrun's environment variables; (0, 1) without them."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
