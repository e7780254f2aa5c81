"""How the seconds of a PPO iteration grow with the number of responses and with their length.

`python bench/scaling.py [--bf16] [--repeats 3] [--threads 2] [--json FILE]`: size S of `bench/ppo.py` with 16 to 128
responses of 64 tokens, and 32 responses of 32 to 256 tokens. The exponent is the slope of log seconds over log size, by
least squares; 1 is linear. Seconds are only worth reading if nothing else runs on the machine.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppo import measure

RESPONSES = (16, 32, 64, 128)
LENGTHS = (32, 64, 128, 256)
ROWS = 32
"""Responses of each length."""


def find_exponent(sizes: tuple[int, ...], found: list[dict[str, Any]]) -> float:
    """Return the slope of log seconds an iteration over log size."""
    seconds = [each["seconds"]["iteration"]["median"] for each in found]
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = {
        "responses": (RESPONSES, [measure("S", given.bf16, given.repeats, prompts=count) for count in RESPONSES]),
        "length": (LENGTHS, [measure("S", given.bf16, given.repeats, each, prompts=ROWS) for each in LENGTHS]),
    }
    for name, (sizes, found) in rows.items():
        times = [each["seconds"]["iteration"] for each in found]
        said = "; ".join(f"{time['median']:.2f} ({time['min']:.2f} to {time['max']:.2f})" for time in times)
        print(f"{name} {', '.join(map(str, sizes))}: {said} s; exponent {find_exponent(sizes, found):.2f}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
