"""Runs models on tensors that have shapes and no data, and counts the bytes in memory and the operations.

So the code that trains is what is counted, on whatever architecture, without weights and in a second or two.
"""

import functools
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
LARGE_BLOCK = 32 << 20
"""Bytes from which C's allocator gives a block back to the system when it is freed; smaller ones it keeps."""


@functools.cache
def without_data() -> FakeTensorMode:
    """Return the context in which tensors have no data; one for all, since those of two do not mix."""
    return FakeTensorMode()


def bring_to_cpu(*modules: nn.Module | None) -> None:
    """Give modules that were built on the device `meta` tensors that look as if they were on a CPU.

    Autocast and attention choose their kernels by the device; but tensors without data cannot be moved, which building
    a model does often. Weights that modules share they share afterwards too.
    """
    made: dict[int, Tensor] = {}
    for module in (layer for each in modules if each is not None for layer in each.modules()):
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_meta:
                    tensors[name] = made.setdefault(id(tensor), make_like(tensor))  # type: ignore[assignment]


def make_like(tensor: Tensor) -> Tensor:
    """Return a tensor without data of the same shape and type, a parameter if the given one is."""
    with without_data():
        new = torch.empty(tensor.shape, dtype=tensor.dtype)
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new


class Operation(NamedTuple):
    """Work of one kernel."""

    flops: int
    """Of matrix products and attention; 0 for all else."""
    moved: int
    """Bytes read and written."""
    is_half: bool
    """True if a product is of 16-bit numbers."""


class Trace(NamedTuple):
    """Memory and work of a computation."""

    peak: Mapping[str, int]
    """Bytes by kind when most were live: `activations`, `logits`, `gradients`, and `weights` (copies in 16 bits)."""
    kept: int
    """Bytes that were live at the end."""
    peak_small: int
    """Bytes of the peak in blocks below `LARGE_BLOCK`."""
    most_small: int
    """Most bytes that were live in such blocks."""
    operations: Mapping[Operation, int]
    """Kernels, and how often each ran."""

    @property
    def peak_bytes(self) -> int:
        """Most bytes that were live at a time."""
        return sum(self.peak.values())


class Tracer(TorchDispatchMode):
    """Counts what is computed while it is active, inside `without_data`."""

    def __init__(self, known: Iterable[Tensor], vocabulary: int = 0) -> None:
        """`known`: tensors in memory already. What is as wide as the `vocabulary` are logits."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {id(tensor.untyped_storage()) for tensor in known}
        self.vocabulary = vocabulary
        self.storages: dict[int, tuple[str, int, Any]] = {}
        self.live, self.peak, self.most = Counter[str](), Counter[str](), 0
        self.small = self.peak_small = self.most_small = 0
        self.operations = Counter[Operation]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, and count it."""
        given = list_tensors((args, kwargs))
        result = func(*args, **(kwargs or {}))
        made = list_tensors(result)
        for tensor in made:
            self.add(tensor, self.name_kind(func, tensor, given))
        if func._schema.is_mutable or not is_view(given, made):
            self.operations[count_work(func, args, given, made)] += 1
        return result

    def name_kind(self, func: Any, tensor: Tensor, given: list[Tensor]) -> str:
        """Return the kind of a new tensor."""
        if self.vocabulary and tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary:
            return "logits"
        is_copy = func is aten._to_copy.default and id(given[0].untyped_storage()) in self.known
        return "weights" if is_copy else "activations"

    def add(self, tensor: Tensor, kind: str) -> None:
        """Count the storage of a tensor, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.known or key in self.storages:
            return
        # Storages keep their Python object as long as they live, so that its end is theirs.
        self.storages[key] = kind, size, weakref.ref(storage, functools.partial(self.remove, key))
        self.live[kind] += size
        if size < LARGE_BLOCK:
            self.small += size
            self.most_small = max(self.most_small, self.small)
        if (total := sum(self.live.values())) > self.most:
            self.most, self.peak, self.peak_small = total, self.live.copy(), self.small

    def remove(self, key: int, _: object) -> None:
        """Forget a storage that was freed."""
        kind, size, _ = self.storages.pop(key)
        self.live[kind] -= size
        self.small -= size if size < LARGE_BLOCK else 0

    def restart(self) -> None:
        """Forget the peak and the work so far, but not what is live."""
        self.peak, self.most = self.live.copy(), sum(self.live.values())
        self.peak_small = self.most_small = self.small
        self.operations = Counter[Operation]()

    def follow_gradients(self, parameters: Iterable[nn.Parameter]) -> list[Any]:
        """Count what becomes a parameter's gradient as such; returns the hooks, to be removed."""
        return [each.register_post_accumulate_grad_hook(self.name_gradient) for each in parameters]

    def name_gradient(self, parameter: Tensor) -> None:
        """Move a tensor that is a gradient now to that kind."""
        assert parameter.grad is not None, "called behind the accumulation"
        key = id(parameter.grad.untyped_storage())
        if key in self.storages:
            kind, size, reference = self.storages[key]
            self.storages[key] = "gradients", size, reference
            self.live[kind] -= size
            self.live["gradients"] += size

    def finish(self) -> Trace:
        """Return what was counted."""
        peak = {kind: size for kind, size in self.peak.items() if size}
        return Trace(peak, sum(self.live.values()), self.peak_small, self.most_small, self.operations)


def list_tensors(tree: Any) -> list[Tensor]:
    """Return the tensors among arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def list_weights(*modules: nn.Module | None) -> Iterator[Tensor]:
    """Yield the parameters and buffers of modules."""
    for module in modules:
        if module is not None:
            yield from module.parameters()
            yield from module.buffers()


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors, of those that share memory once."""
    storages = {id(storage): storage for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storage.nbytes() for storage in storages.values())


def is_view(given: list[Tensor], made: list[Tensor]) -> bool:
    """True if an operation made no new memory."""
    before = {id(tensor.untyped_storage()) for tensor in given}
    return all(id(tensor.untyped_storage()) in before for tensor in made)


def count_work(func: Any, args: tuple[Any, ...], given: list[Tensor], made: list[Tensor]) -> Operation:
    """Return the work of an operation from the shapes of its tensors."""
    count = PRODUCTS.get(func)
    # Of the table of an embedding only the rows of the tokens are read.
    read = given[1:] if func is aten.embedding.default else given
    moved = sum(tensor.numel() * tensor.element_size() for tensor in [*read, *made])
    half = bool(made) and made[0].element_size() == 2
    return Operation(count(*args) if count else 0, moved, half)


def count_product(first: Tensor, second: Tensor, *_: Any) -> int:
    """Operations of a product of matrices, or of batches of them."""
    return 2 * first.numel() * second.shape[-1]


def count_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Operations of attention, `[B, heads, T, size]`: two products, of which a causal mask needs half."""
    return 2 * query.numel() * key.shape[-2]


PRODUCTS: dict[Any, Callable[..., int]] = {
    aten.mm.default: count_product,
    aten.bmm.default: count_product,
    aten.addmm.default: lambda _, first, second, *rest: count_product(first, second),
    aten.baddbmm.default: lambda _, first, second, *rest: count_product(first, second),
    aten._scaled_dot_product_flash_attention_for_cpu.default: count_attention,
    # Scores are computed once more, and there are four gradients: five products for two.
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: lambda _, query, key, value, *rest: math.ceil(
        2.5 * count_attention(query, key, value)
    ),
}
