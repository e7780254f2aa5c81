"""Several processes of one training: each does its share of the rows, and all know the whole.

Every process holds all weights and the whole batch. What takes time (decoding, passes through models, gradients) is
divided by rows, and what each found is put together again. So whatever is computed over a batch, whitening first of
all, is what one process computes. Where there is one process, nothing here does anything.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from likelier.errors import ConfigError, LikelierError


class LostProcess(LikelierError):
    """Another process of this run has ended, or cannot be reached. Exit code 1."""


def get_rank() -> int:
    """This process's number, from 0; 0 outside `process_group`."""
    return dist.get_rank() if is_initialized() else 0


def get_world_size() -> int:
    """How many processes train together; 1 outside `process_group`."""
    return dist.get_world_size() if is_initialized() else 1


def is_initialized() -> bool:
    """True inside `process_group`."""
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that `torchrun` describes in the environment; leave it at the end.

    NCCL where there are GPUs, one for each process, else Gloo. ConfigError: more processes than GPUs.
    """
    if torch.cuda.is_available():
        place, devices = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if place >= devices:
            raise ConfigError(f"torchrun: process {place + 1} of this machine finds {devices} GPUs; start one for each")
        torch.cuda.set_device(place)
    with lost_process_errors():
        found, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        # A prefix of its own for each attempt: torchrun's store keeps the addresses of the one that ended.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt {attempt}", found)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def lost_process_errors() -> Iterator[None]:
    """Turn what PyTorch raises when another process has ended into LostProcess."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split()).partition(". This is")[0]
        raise LostProcess(
            f"another process of this run has ended or cannot be reached ({reason}); go on with --resume auto"
        ) from error


def shard(num_rows: int) -> slice:
    """This process's part of so many rows: every n-th. Fewer rows than processes are not divided: all do all."""
    rank, size = get_rank(), get_world_size()
    return slice(rank, None, size) if num_rows >= size else slice(None)


def all_gather_rows(part: Tensor, num_rows: int) -> Tensor:
    """The whole of what the processes found for their `share` of the rows, bit by bit; to each of them."""
    if get_world_size() == 1 or num_rows < get_world_size():
        return part
    whole = part.new_zeros(num_rows, *part.shape[1:])
    whole[shard(num_rows)] = part
    return all_reduce_sum(whole)


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum over processes, the same bits in each. In place where there are several."""
    if get_world_size() > 1:
        with lost_process_errors():
            dist.all_reduce(x)
    return x


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over all processes, in place."""
    if get_world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with torch.no_grad():
        whole = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = whole.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)])


def broadcast(work: Callable[[], Tensor], *shape: int) -> Tensor:
    """The result of `work`, run in the first process only and sent to all; float32 of this shape."""
    if get_world_size() == 1:
        return work()
    found = work() if get_rank() == 0 else torch.empty(shape)
    with lost_process_errors():
        dist.broadcast(found, 0)
    return found


def broadcast_text(text: str) -> str:
    """Send the first process's text to all; returns it."""
    if get_world_size() == 1:
        return text
    letters = torch.tensor(list(text.encode()), dtype=torch.uint8)
    count = torch.tensor(len(letters))
    with lost_process_errors():
        dist.broadcast(count, 0)
        letters = letters if get_rank() == 0 else torch.empty(int(count), dtype=torch.uint8)
        dist.broadcast(letters, 0)
    return bytes(letters.tolist()).decode()


def all_reduce_max(number: int) -> int:
    """The largest of the numbers that the processes have."""
    if get_world_size() == 1:
        return number
    found = torch.tensor(number)
    with lost_process_errors():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)
