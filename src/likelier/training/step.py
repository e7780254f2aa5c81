"""One optimizer step of SFT, DPO and reward models, and its checkpointed state."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from likelier.distributed import all_reduce_gradients, compute_norm, is_sharded, local_part
from likelier.ppo.update import largest_state
from likelier.training.guard import Guard
from likelier.training.state import load_state, save_state

BadBatch = Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]]
"""Tensors of a batch whose step was skipped, and numbers beside them, for the files that the guard writes."""


class TrainingState:
    """Everything in a checkpoint: weights, optimizer, guard and counters."""

    def __init__(
        self, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, guard: Guard, **counts: Any
    ) -> None:
        """`modules`: by file name in a checkpoint; `counts` has more keys than "num_tokens" and "optimizer_steps"."""
        self.modules, self.optimizer, self.guard = modules, optimizer, guard
        self.counts: dict[str, Any] = {"num_tokens": 0, "optimizer_steps": 0} | counts

    def save(self, folder: Path, **more: Any) -> None:
        """Write a checkpoint, with more numbers beside the counters."""
        save_state(folder, self.modules, self.optimizer, self.counts | {"guard": self.guard.counts()} | more)

    def load(self, checkpoint: Path | None) -> dict[str, Any]:
        """Restore the output of `save` and return its numbers; with None, do nothing and return none."""
        if checkpoint is None:
            return {}
        saved = load_state(checkpoint, self.modules, self.optimizer)
        self.counts = {name: saved[name] for name in self.counts}
        self.guard.restore(saved["guard"])
        return saved


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradients to a global norm of at most `max_norm`; returns the norm before clipping."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(is_sharded(gradient) for gradient in gradients):
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    norm = compute_norm(gradients)
    # With torch's 1e-6, so that the steps are those of one process.
    torch._foreach_mul_([local_part(each) for each in gradients], (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def guarded_step(
    state: TrainingState, loss: Tensor, max_grad_norm: float, loss_name: str, bad_batch: BadBatch
) -> tuple[bool, Tensor]:
    """Add up the gradients of all processes, clip and step, or skip the step if they are not finite.

    Returns (stepped, norm before clipping).

    Skipped if the loss, the norm or the optimizer's state is not finite: Adam would write NaN into every weight, and a
    single overflow of its second moments would persist and spoil all later steps. `loss_name` names the loss in the
    guard's
    error (NumericError after too many skipped steps in a row).
    """
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    all_reduce_gradients(parameters)
    grad_norm = clip_gradients(parameters, max_grad_norm)
    stepped = bool(torch.isfinite(loss + grad_norm + largest_state(state.optimizer)))
    if stepped:
        state.optimizer.step()
        state.guard.accept()
        state.counts["optimizer_steps"] += 1
    else:
        tensors, numbers = bad_batch()
        reason = f"{loss_name}, its gradient or the optimizer was not finite in"
        state.guard.skip(reason, tensors, {"loss": loss, "grad_norm": grad_norm, **numbers})
    return stepped, grad_norm
