"""Data-parallel training: every process knows the whole batch, and computes its shard of the rows.

The expensive work (decoding, forward passes, gradients) is sharded by rows and its results are gathered, so that
statistics over a batch, such as those of whitening, equal those of a single process. With one process everything here
is a no-op.
"""

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn

from likelier.errors import ConfigError, LikelierError

SECONDS_BETWEEN_LOOKS = 0.02
"""While processes meet."""


class LostProcess(LikelierError):
    """Another process of this run has exited, or cannot be reached. Exit code 1."""


def get_rank() -> int:
    """Return the rank of this process; 0 outside `process_group`."""
    return dist.get_rank() if is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes that train together; 1 outside `process_group`."""
    return dist.get_world_size() if is_initialized() else 1


def check_device(block: str, device: torch.device) -> None:
    """ConfigError: several processes cannot communicate on the device that the settings in `block` name."""
    if get_world_size() > 1 and device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"{block}.device: {device.type} does not serve several processes; set cpu, or use one process"
        )


def is_initialized() -> bool:
    """True inside `process_group`."""
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that `torchrun` describes in the environment; leave it at the end.

    NCCL with one GPU per process, else Gloo. ConfigError: more processes than GPUs.
    """
    if torch.cuda.is_available():
        local_rank, devices = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local_rank >= devices:
            raise ConfigError(
                f"torchrun: process {local_rank + 1} of this machine finds {devices} GPUs; start one for each"
            )
        torch.cuda.set_device(local_rank)
    with lost_process_errors():
        found, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        # A prefix of its own for each attempt: torchrun's store keeps the addresses of the one that ended.
        store = dist.PrefixStore(agree_on_name(found, rank, size), found)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def agree_on_name(store: Any, rank: int, size: int) -> str:
    """Return a name that all processes of this attempt get, and those of no attempt before. LostProcess: one does not
    come in time.

    torchrun's own count of restarts serves on one machine only: each machine counts those of its own processes.
    """
    own, until = uuid.uuid4().hex, time.monotonic() + store.timeout.total_seconds()
    others = range(1, size)

    def read(key: str) -> str:
        return str(store.get(key).decode()) if store.check([key]) else ""

    if rank > 0:
        store.set(f"here/{rank}", own)
    while time.monotonic() < until:
        if rank == 0:
            # Whoever finds itself named knows that this is no list of an attempt that has ended.
            store.set("named", " ".join([own, *(read(f"here/{other}") for other in others)]))
            if all(read(f"agreed/{other}") == own for other in others):
                return own
        else:
            name, *named = read("named").split(" ")
            if own in named:
                store.set(f"agreed/{rank}", name)
                return name
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise LostProcess(f"torchrun: not all of {size} processes have come; go on with --resume auto")


@contextlib.contextmanager
def lost_process_errors(every: bool = True) -> Iterator[None]:
    """Convert PyTorch's errors about an exited process to LostProcess; `every`: there can be no other errors."""
    try:
        yield
    except RuntimeError as error:
        if not (every or isinstance(error, dist.DistError) or "gloo/transport" in str(error)):
            raise
        reason = " ".join(str(error).split()).partition(". This is")[0]
        raise LostProcess(
            f"another process of this run has ended or cannot be reached ({reason}); go on with --resume auto"
        ) from error


def shard(num_rows: int) -> slice:
    """Return the rows of this process: every n-th. With fewer rows than processes, every process takes them all."""
    rank, size = get_rank(), get_world_size()
    return slice(rank, None, size) if num_rows >= size else slice(None)


class Part(NamedTuple):
    """Rows of one forward pass of this process."""

    rows: list[int]
    num_own: int
    """The first so many are this process's. A row behind them is another's: it keeps this process in step."""


def split_shard(num_rows: int, size: int) -> list[Part]:
    """Cut the `shard` of this process into parts of at most `size` rows: as many parts in every process.

    Where the shard is a row shorter than others' it is filled with a row of another process, which must not count: a
    process that ran fewer forward passes would have no gradients to add, and with sharded weights stop all others.
    """
    rank, world_size = get_rank(), get_world_size()
    own = list(range(rank, num_rows, world_size))
    missing = -(-num_rows // world_size) - len(own)
    rows = own + [rank % num_rows] * missing
    starts = range(0, len(rows), size) if rows else [0]
    return [Part(rows[start : start + size], min(size, len(own) - start)) for start in starts]


def gather_parts(values: list[Tensor], parts: list[Part], num_rows: int) -> Tensor:
    """Gather the values of the rows of every process's parts, in the order of the rows; every process gets them all."""
    own = torch.cat([value[: part.num_own] for value, part in zip(values, parts, strict=True)])
    gathered = own.new_zeros(num_rows, *own.shape[1:])
    gathered[[row for part in parts for row in part.rows[: part.num_own]]] = own
    return all_reduce_sum(gathered)


def all_gather_rows(rows: Tensor, num_rows: int) -> Tensor:
    """Gather the rows that each process computed for its `shard`, in order; every process gets the same bits."""
    if get_world_size() == 1 or num_rows < get_world_size():
        return rows
    gathered = rows.new_zeros(num_rows, *rows.shape[1:])
    gathered[shard(num_rows)] = rows
    return all_reduce_sum(gathered)


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum over all processes, in place; every process gets the same bits."""
    if get_world_size() > 1:
        with lost_process_errors():
            dist.all_reduce(x)
    return x


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over all processes, in place; those of sharded weights are sums already."""
    if get_world_size() == 1:
        return
    found = (parameter.grad for parameter in parameters if parameter.grad is not None)
    gradients = [gradient for gradient in found if not is_sharded(gradient)]
    if not gradients:
        return
    with torch.no_grad():
        flat = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            gradients, [flat_part.view_as(each) for flat_part, each in zip(parts, gradients, strict=True)]
        )


def broadcast(work: Callable[[], Tensor], *shape: int) -> Tensor:
    """Run `work` on rank 0 and return its result, float32 of the given shape, in every process."""
    if get_world_size() == 1:
        return work()
    result = work() if get_rank() == 0 else torch.empty(shape)
    with lost_process_errors():
        dist.broadcast(result, 0)
    return result


def broadcast_text(text: str) -> str:
    """Return rank 0's text in every process."""
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
    """Return the maximum over all processes."""
    if get_world_size() == 1:
        return number
    result = torch.tensor(number)
    with lost_process_errors():
        dist.all_reduce(result, dist.ReduceOp.MAX)
    return int(result)


SHARDED: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models with sharded weights; True where the weights of their layers are gathered in bfloat16."""


def is_sharded(tensor: Tensor) -> bool:
    """True if this process holds a part of a tensor, and the other processes the others."""
    # Importing it takes a second; where nothing has, no tensor is sharded.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """Return this process's part of a sharded tensor, sharing its memory; any other tensor itself."""
    if not is_sharded(tensor):
        return tensor
    part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part


@torch.no_grad()
def gather_tensor(tensor: Tensor, to_rank_0: bool = False) -> Tensor | None:
    """Return a sharded tensor whole, or any other itself, with its device; all processes must come here.

    `to_rank_0`: in the main memory of rank 0, and None in the other processes.
    """
    whole: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor.detach()  # type: ignore[attr-defined]
    if not to_rank_0:
        return whole
    # Of its own size: what is gathered may be the front of something longer.
    return torch.empty_like(whole, device="cpu").copy_(whole) if get_rank() == 0 else None


@torch.no_grad()
def compute_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all elements of tensors, of which some may be sharded; alike in every process."""

    def sum_squares(group: list[Tensor]) -> Tensor:
        norms = torch._foreach_norm(group) if group else [torch.zeros((), device=tensors[0].device)]
        return torch.stack(norms).square().sum()

    parts = [local_part(tensor) for tensor in tensors if is_sharded(tensor)]
    whole = [tensor for tensor in tensors if not is_sharded(tensor)]
    return (sum_squares(whole) + all_reduce_sum(sum_squares(parts))).sqrt()


def run_in_forward(model: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`, which runs parts of `model`; if it is sharded, with what stands beside its layers
    gathered, as within its own forward."""
    if model not in SHARDED:
        return function(*inputs)
    run: Callable[..., Any] = model.run_function  # type: ignore[assignment]
    return run(function, *inputs)
