"""Several processes of one training: each does its share of the rows, and all know the whole.

Every process holds all weights and the whole batch. What takes time (decoding, passes through models, gradients) is
divided by rows, and what each found is put together again. So whatever is computed over a batch, whitening first of
all, is what one process computes. Where there is one process, nothing here does anything.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from likelier.errors import ConfigError, LikelierError


class LostProcess(LikelierError):
    """Another process of this run has ended, or cannot be reached. Exit code 1."""


class World(NamedTuple):
    """Which of how many processes this is."""

    rank: int
    size: int


def world() -> World:
    """(0, 1) outside `joined`."""
    if not (dist.is_available() and dist.is_initialized()):
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Meet the other processes that `torchrun` started, as its variables of the environment say.

    Over NCCL where there are GPUs, one for each process, else over Gloo. ConfigError: more processes than GPUs.
    """
    if torch.cuda.is_available():
        place, devices = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if place >= devices:
            raise ConfigError(f"torchrun: process {place + 1} of this machine finds {devices} GPUs; start one for each")
        torch.cuda.set_device(place)
    with meeting():
        found, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        attempt = os.environ.get(
            "TORCHELASTIC_RESTART_COUNT", "0"
        )  # what an ended attempt left there must not be found
        store = dist.PrefixStore(f"attempt {attempt}", found)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield world()
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """LostProcess: the other processes do not come."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split()).partition(". This is")[0]
        raise LostProcess(
            f"another process of this run has ended or cannot be reached ({reason}); go on with --resume auto"
        ) from error


def share(num_rows: int) -> slice:
    """This process's part of so many rows: every n-th. Fewer rows than processes are not divided: all do all."""
    rank, size = world()
    return slice(rank, None, size) if num_rows >= size else slice(None)


def gathered(part: Tensor, num_rows: int) -> Tensor:
    """The whole of what the processes found for their `share` of the rows, bit by bit; to each of them."""
    if world().size == 1 or num_rows < world().size:
        return part
    whole = part.new_zeros(num_rows, *part.shape[1:])
    whole[share(num_rows)] = part
    return summed(whole)


def summed(x: Tensor) -> Tensor:
    """The sum over processes, the same bits in each. In place where there are several."""
    if world().size > 1:
        with meeting():
            dist.all_reduce(x)
    return x


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make each gradient the sum of what the processes have."""
    if world().size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with torch.no_grad():
        whole = summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = whole.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)])


def from_first(work: Callable[[], Tensor], *shape: int) -> Tensor:
    """What `work` returns in the first process, float32 of this shape: for what must not be done several times."""
    rank, size = world()
    if size == 1:
        return work()
    found = work() if rank == 0 else torch.empty(shape)
    with meeting():
        dist.broadcast(found, 0)
    return found


def text_of_first(text: str) -> str:
    """The first process's text."""
    if world().size == 1:
        return text
    letters = torch.tensor(list(text.encode()), dtype=torch.uint8)
    count = torch.tensor(len(letters))
    with meeting():
        dist.broadcast(count, 0)
        letters = letters if world().rank == 0 else torch.empty(int(count), dtype=torch.uint8)
        dist.broadcast(letters, 0)
    return bytes(letters.tolist()).decode()


def largest(number: int) -> int:
    """The largest of the numbers that the processes have."""
    if world().size == 1:
        return number
    found = torch.tensor(number)
    with meeting():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)
