"""Which tokens carry a score: gradient times input."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Attribution(NamedTuple):
    """The tokens of a text and the part of each in its score."""

    tokens: list[str]
    """Texts, as `spell_each_token` writes them."""
    parts: list[float]
    num_prompt_tokens: int
    """So many of the tokens, from the first on, are of the prompt."""


@torch.enable_grad()
def gradient_times_input(embedding: nn.Module, score: Callable[[], Float[Tensor, ""]]) -> Float[Tensor, " N"]:
    """Return e . d score / d e of each token's input embedding e, where `score` reads one text through `embedding`.

    Simonyan et al. 2014 and Shrikumar et al. 2017: to first order what the score would lose if the embedding were 0. Of
    a score that is linear in the embeddings the parts add up to the score without its constant; of others they need
    not. A text that is read twice, as by an encoder and its decoder, has the parts of both.
    """
    inputs: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        inputs.append(output.detach().requires_grad_())
        return inputs[-1]

    hook = embedding.register_forward_hook(keep)
    try:
        total = score()
    finally:
        hook.remove()
    gradients = torch.autograd.grad(total, inputs)
    parts = [(each * gradient).float().sum(-1).flatten() for each, gradient in zip(inputs, gradients, strict=True)]
    return torch.stack([part for part in parts if len(part) == len(parts[0])]).sum(0).detach()
