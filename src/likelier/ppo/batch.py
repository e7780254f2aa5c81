"""The batch of one PPO update."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@runtime_checkable
class Rows(Protocol):
    """Inputs of a policy that are no tensor, such as pictures of any size: an index takes rows of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Int[Tensor, " N"], /) -> "Rows": ...


@dataclass(frozen=True)
class Batch:
    """Rows of experience for one update, frozen.

    `T` is the maximum row length: loss_aggregation "fixed" divides by rows times `T`. `old_values` and `returns` are
    None without a critic, `ref_logprobs` without a KL penalty in the loss. Values outside `mask` are arbitrary.
    """

    inputs: Mapping[str, Shaped[Tensor, "B ..."] | Rows]
    actions: Shaped[Tensor, "B T ..."]
    mask: Bool[Tensor, "B T"]
    old_logprobs: Float[Tensor, "B T"]
    old_values: Float[Tensor, "B T"] | None
    advantages: Float[Tensor, "B T"]
    returns: Float[Tensor, "B T"] | None
    ref_logprobs: Float[Tensor, "B T"] | None = None
    lengths: Int[Tensor, " B"] | None = None
    """Tokens that the policy reads in a row, by which micro-batches are cut; None: all rows cost alike."""

    def __len__(self) -> int:
        return len(self.mask)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for writing to disk."""
        tensors = {name: tensor for name, tensor in vars(self).items() if isinstance(tensor, Tensor)}
        given = {f"inputs.{name}": each for name, each in self.inputs.items() if isinstance(each, Tensor)}
        return tensors | given

    def rows(self, index: Int[Tensor, " N"]) -> "Batch":
        """Return a copy of the rows at `index`."""
        index = index.to(self.mask.device)  # indices are drawn on the CPU, so that every device shuffles alike
        return Batch(
            {name: tensor[index] for name, tensor in self.inputs.items()},
            self.actions[index],
            self.mask[index],
            self.old_logprobs[index],
            None if self.old_values is None else self.old_values[index],
            self.advantages[index],
            None if self.returns is None else self.returns[index],
            None if self.ref_logprobs is None else self.ref_logprobs[index],
            None if self.lengths is None else self.lengths[index],
        )

    def cut(self, size: int | None) -> list["Batch"]:
        """Yield consecutive parts of at most `size` rows; None: the whole batch."""
        if size is None or size >= len(self):
            return [self]
        # In order, as `evaluate_old_policy` cuts them: otherwise the first ratio is not exactly 1.
        return [self.rows(rows) for rows in torch.arange(len(self)).split(size)]


def minibatches(num_rows: int, num_mini_batches: int, generator: torch.Generator | None) -> list[Int[Tensor, " N"]]:
    """Split one epoch into nearly equal minibatches, shuffled if there is a `generator`."""
    # tensor_split and not split: parts that differ by a row at most weigh nearly the same in their means.
    if generator is None:
        order = torch.arange(num_rows)
    else:
        order = torch.randperm(num_rows, generator=generator, device=generator.device).cpu()
    return list(order.tensor_split(num_mini_batches))


def order_by_length(
    rows: Int[Tensor, " N"], lengths: Int[Tensor, " B"] | None, micro_batch_size: int | None
) -> Int[Tensor, " N"]:
    """Order the rows of a minibatch so that those of a micro-batch are of like length and hold little padding.

    The gradient is a sum over rows and stays the same but for rounding. Unchanged if one micro-batch takes all rows.
    """
    if lengths is None or micro_batch_size is None or micro_batch_size >= len(rows):
        return rows
    return rows[lengths.cpu()[rows].argsort(stable=True)]
