"""Speed and memory of machines: a table of GPUs from their makers' datasheets, and this CPU, measured in seconds."""

import difflib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likelier.errors import ConfigError
from likelier.plan.trace import Operation

GB = 10**9


class GPU(NamedTuple):
    """A row of the table, from the datasheet: dense rates, without sparsity."""

    memory: int
    """GB."""
    bandwidth: int
    """GB a second."""
    half: float
    """TFLOP/s of 16-bit matrix products that sum in float32."""
    single: float
    """TFLOP/s of float32 products, without TF32."""


GPUS: Mapping[str, GPU] = {
    "T4": GPU(16, 320, 65, 8.1),
    "V100": GPU(32, 900, 125, 15.7),
    "RTX3090": GPU(24, 936, 71, 35.6),
    "RTX4090": GPU(24, 1008, 165, 82.6),
    "RTX5090": GPU(32, 1792, 210, 104.8),
    "A10": GPU(24, 600, 125, 31.2),
    "L4": GPU(24, 300, 121, 30.3),
    "A6000": GPU(48, 768, 155, 38.7),
    "L40S": GPU(48, 864, 362, 91.6),
    "A100-40GB": GPU(40, 1555, 312, 19.5),
    "A100-80GB": GPU(80, 2039, 312, 19.5),
    "H100": GPU(80, 3350, 989, 67),
    "H200": GPU(141, 4800, 989, 67),
    "B200": GPU(180, 7700, 2250, 75),
    "MI300X": GPU(192, 5300, 1307, 163.4),
}
GPU_SHARE = 0.5
"""Share of the datasheet's arithmetic that training on a GPU reaches here; a guess, since none was measured."""
GPU_BANDWIDTH_SHARE = 0.8
"""The same of its bandwidth."""
GPU_KERNEL_SECONDS = 8e-6
"""Time in which Python launches a kernel."""
CPU_SHARE = 0.75
"""Share of the best of many tries that a run on a CPU reaches: 0.66 to 0.76 on four sizes (docs/results.md)."""
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GI?B?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Rates:
    """How fast a machine computes."""

    bandwidth: float
    """Bytes a second, read and written."""
    single: float
    """Operations a second of float32 products."""
    half: float
    """The same of bfloat16 ones."""
    thin: float
    """Operations a second of float32 products of few rows, as in decoding."""
    kernel: float
    """Seconds of the smallest operation."""

    def scale(self, share: float) -> "Rates":
        """Return the rates of a machine that reaches a share of these."""
        bandwidth, single, half, thin = (share * rate for rate in (self.bandwidth, self.single, self.half, self.thin))
        return Rates(bandwidth, single, half, thin, self.kernel / share)

    def time(self, operations: Mapping[Operation, int]) -> float:
        """Return the seconds of operations: each takes as long as its arithmetic or its memory, whichever is more."""
        return sum(count * self.time_one(operation) for operation, count in operations.items())

    def time_one(self, operation: Operation) -> float:
        """Return the seconds of one operation."""
        rate = self.half if operation.is_half else self.single
        return max(operation.flops / rate, operation.moved / self.bandwidth) + self.kernel


@dataclass(frozen=True)
class Machine:
    """Where a run is to be."""

    name: str
    memory: int
    """Bytes of a GPU, or of this machine."""
    rates: Rates | None
    """None if only the memory is known."""
    is_cpu: bool = False
    count: int = 1
    """GPUs of this kind."""

    @property
    def device(self) -> torch.device:
        """Device that the settings of a run are read for."""
        return torch.device("cpu" if self.is_cpu else "cuda")


def find_machine(gpu: str | None, count: int, calibrate: bool) -> Machine:
    """Return the GPU of that name or size; without one that of this machine, else its CPU, which is measured.

    ConfigError: an unknown name.
    """
    if gpu is not None:
        size = SIZE.fullmatch(gpu.strip())
        return Machine(f"{gpu}", int(float(size[1]) * GB), None, count=count) if size else find_gpu(gpu, count)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        known = match_gpu(properties.name)
        return Machine(
            properties.name, properties.total_memory, make_rates(GPUS[known]) if known else None, count=count
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rates = calibrate_cpu().scale(CPU_SHARE) if calibrate else None
    return Machine("CPU", memory, rates, is_cpu=True, count=count)


def find_gpu(name: str, count: int) -> Machine:
    """Return the GPU of that name in the table. ConfigError: there is none."""
    known = match_gpu(name)
    if known is None:
        close = difflib.get_close_matches(name.upper(), GPUS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(GPUS)}; or give a size such as 24GB"
        raise ConfigError(f"--gpu: no GPU called {name!r}; {hint}")
    return Machine(known, GPUS[known].memory * GB, make_rates(GPUS[known]), count=count)


def match_gpu(name: str) -> str | None:
    """Return the row of the table that a name stands for, such as `NVIDIA A100-SXM4-80GB`; None if none does."""
    words = set(re.findall(r"[A-Z0-9]+", re.sub(r"RTX\W+(?=\d)", "RTX", name.upper())))
    found = [row for row in GPUS if words.issuperset(row.upper().split("-"))]
    return found[0] if found else "A100-80GB" if "A100" in words else None


def make_rates(gpu: GPU) -> Rates:
    """Return what training reaches of a datasheet."""
    half, single = gpu.half * 1e12 * GPU_SHARE, gpu.single * 1e12 * GPU_SHARE
    return Rates(gpu.bandwidth * GB * GPU_BANDWIDTH_SHARE, single, half, single, GPU_KERNEL_SECONDS)


def calibrate_cpu() -> Rates:
    """Measure this CPU with the threads that PyTorch uses, in about four seconds."""
    wide, few, weight = torch.randn(512, 768), torch.randn(16, 768), torch.randn(2304, 768)
    long, short = torch.randn(1 << 22), torch.randn(16)
    flops = 2 * weight.numel()
    with torch.no_grad():
        single = flops * len(wide) / time_work(lambda: F.linear(wide, weight))
        thin = flops * len(few) / time_work(lambda: F.linear(few, weight))
        halves = wide.bfloat16(), weight.bfloat16()
        half = flops * len(wide) / time_work(lambda: F.linear(*halves))
        bandwidth = 3 * 4 * len(long) / time_work(lambda: long.add(long))
        kernel = time_work(lambda: short.add(short))
    return Rates(bandwidth, single, half, thin, kernel)


def time_work(work: Callable[[], Tensor], seconds: float = 0.8) -> float:
    """Return the least seconds of a piece of work, of as many as fit."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)  # others on the machine only add to it
