"""The output layer and its loss in Liger's kernels (Hsu et al. 2024, arXiv 2410.10989), where they run and agree.

They compute gradients beside the loss, so that logits are made once; `run_in_chunks` makes them again in the backward
pass. They give no entropy, which PPO logs of every token, so only supervised fine-tuning asks for them.
"""

import os
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from likelier.distributed import is_sharded
from likelier.progress import print_note

Sums = tuple[Float[Tensor, ""], Float[Tensor, ""]]
"""The sum of -log p of tokens, and how many are the likeliest."""
TRIED_TOKENS, TRIED_WORDS = 16, 4096
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 3e-3}
"""Of the loss and of its gradients, by the type in which the layer computes, relative to the largest number."""
FUSED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""Result of `is_fused` for each model."""


def is_fused(model: PreTrainedModel) -> bool:
    """True if Liger's kernels can take the model's output layer, run on its device, and agree with PyTorch on it."""
    if model not in FUSED:
        head = model.get_output_embeddings()
        FUSED[model] = is_plain(head, model) and runs_triton(head) and import_loss() is not None and agrees(model)
    return FUSED[model]


def runs_triton(head: nn.Module) -> bool:
    """True on a GPU, or where Triton interprets its kernels, which it does on a CPU."""
    return next(head.parameters()).device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def is_plain(head: nn.Module, model: PreTrainedModel) -> bool:
    """True if logits are a linear function of the states: no adapter, no packed weights, no scale and no cap."""
    config = model.config.get_text_config().to_dict()
    scales = {config.get(name) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping")}
    return type(head) is nn.Linear and not is_sharded(head.weight) and scales <= {None, 0, 1}


def import_loss() -> Any:
    """Import Liger's function; None if it is not installed."""
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction
    except ImportError:
        return None
    return LigerFusedLinearCrossEntropyFunction


def sum_losses_fused(model: PreTrainedModel, hidden: Float[Tensor, "N D"], tokens: Int[Tensor, " N"]) -> Sums:
    """Return the sum of -log p of tokens, and how many are the likeliest, from the hidden states before them."""
    weight, bias = get_layer(model)
    return apply_fused(hidden, weight, tokens, bias)


def get_layer(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of the output layer."""
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear), "see is_plain"
    return head.weight, head.bias


def apply_fused(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    tokens: Int[Tensor, " N"],
    bias: Float[Tensor, " V"] | None,
) -> Sums:
    """Return loss and hits by Liger's kernels."""
    settings = (None, -100, 0.0, 0.0, "sum", None, False, torch.float32, False, False, True)
    loss, _, _, predicted = import_loss().apply(hidden, weight, tokens, bias, *settings)
    return loss, (predicted == tokens).sum().float()


def agrees(model: PreTrainedModel) -> bool:
    """True if loss, hits and gradients of a part of the output layer are those of PyTorch; a note if they are not."""
    weight, bias = (None if each is None else each.detach()[:TRIED_WORDS] for each in get_layer(model))
    assert weight is not None, "only a bias may be absent"
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(TRIED_TOKENS, weight.shape[1], generator=draw).to(weight)
    tokens = torch.randint(len(weight), (TRIED_TOKENS,), generator=draw).to(weight.device)
    found = []
    for compute in (sum_losses_plainly, apply_fused):
        leaves = [tensor.clone().requires_grad_() for tensor in (states, weight)]
        with torch.enable_grad():
            loss, hits = compute(leaves[0], leaves[1], tokens, bias)
            found.append([loss, hits, *torch.autograd.grad(loss, leaves)])
    kind = weight.device.type
    computed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    tolerance = TOLERANCE.get(computed, 0.0)
    if all(is_near(plain, fused, tolerance) for plain, fused in zip(*found, strict=True)):
        return True
    print_note("liger-kernel is installed, but its loss is another than PyTorch's on this model: PyTorch's is taken")
    return False


def is_near(expected: Tensor, found: Tensor, tolerance: float) -> bool:
    """True if no number is further off than a share of the largest one."""
    return bool((expected - found).abs().max() <= tolerance * expected.abs().max())


def sum_losses_plainly(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    tokens: Int[Tensor, " N"],
    bias: Float[Tensor, " V"] | None,
) -> Sums:
    """Return what `apply_fused` does, by PyTorch."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    loss = torch.nn.functional.cross_entropy(logits, tokens, reduction="sum")
    return loss, (logits.argmax(1) == tokens).sum().float()
