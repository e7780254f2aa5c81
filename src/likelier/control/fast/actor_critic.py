"""Policy and critic as two MLPs of equal widths, computed in batched products with a hand-written backward pass.

Minibatches of control are so small that PyTorch spends more time on overhead than on arithmetic. So a layer of both
networks is one batched product, clipping and Adam see half as many tensors, and autograd one node instead of thirty.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from likelier.control.spaces import Array

SMALL_SIZE = 4096
"""Numbers below which PyTorch's own tanh is the faster one."""

MINUS_ONE = torch.tensor(-1.0)
"""Made once: making it takes as long as adding it to a layer."""


class ActorCriticMLP(nn.Module):
    """Maps features to policy outputs and values.

    Weights are `[2, outputs, inputs]`, the policy's first. The critic's last layer is as wide as the policy's; only its
    first output is used, the weights of the others stay 0.
    """

    def __init__(self, num_inputs: int, hidden: Sequence[int], num_outputs: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        sizes = list(pairwise([num_inputs, *hidden, num_outputs]))
        self.weights = [nn.Parameter(torch.zeros(2, outputs, inputs)) for inputs, outputs in sizes]
        self.biases = [nn.Parameter(torch.zeros(2, 1, outputs)) for _, outputs in sizes]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            self.register_parameter(f"weight_{layer}", weight)
            self.register_parameter(f"bias_{layer}", bias)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, gain: float, output_gain: float, value_gain: float) -> None:
        """Initialise orthogonally, as is usual for PPO; biases are 0."""
        *hidden, last = self.weights
        for weight in hidden:
            for tower in weight:
                nn.init.orthogonal_(tower, gain, generator=generator)
        # Small outputs: the first policy is nearly uniform (Huang et al. 2022, detail 2). The critic has its own gain.
        nn.init.orthogonal_(last[0], output_gain, generator=generator)
        nn.init.orthogonal_(last[1, :1], value_gain, generator=generator)

    def forward(self, features: Float[Tensor, "N I"]) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 1"]]:
        """The policy's outputs and the values."""
        # Acting needs no graph, and a node of autograd costs as much as a layer.
        if torch.is_grad_enabled():
            both: tuple[Tensor, Tensor] = MLPFunction.apply(features, self.activation, *self.weights, *self.biases)  # type: ignore[no-untyped-call]
            return both
        return split_heads(forward_layers(features, self.weights, self.biases, self.activation)[-1])

    def policy_layers(self) -> list[tuple[Array, Array]]:
        """Weights and biases of the policy as numpy arrays, which share memory with the parameters on a CPU."""
        layers = zip(self.weights, self.biases, strict=True)
        return [(weight[0].detach().cpu().numpy().T, bias[0].detach().cpu().numpy()) for weight, bias in layers]


def numpy_mlp(x: Array, layers: Sequence[tuple[Array, Array]], activation: str) -> Array:
    """Forward pass of one MLP in numpy."""
    for weight, bias in layers[:-1]:
        x = x @ weight + bias
        x = np.tanh(x) if activation == "tanh" else np.maximum(x, 0.0)
    weight, bias = layers[-1]
    return x @ weight + bias


class MLPFunction(torch.autograd.Function):
    """`forward_layers` with a hand-written backward pass.

    For a layer with input h and gradient g of its output, the gradient of the weights is g.T @ h, of the biases the sum
    of g over rows, and of the input g @ weights, passed back through the activation.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, activation: str, *layers: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers, saving the activations for backward."""
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        *layer_inputs, output = forward_layers(features, weights, biases, activation)
        ctx.save_for_backward(*layer_inputs, *weights)
        ctx.activation = activation  # type: ignore[attr-defined]
        return split_heads(output)

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor, grad_values: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to features, weights and biases."""
        saved = ctx.saved_tensors
        layer_inputs, weights = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        # Only the first output of the critic is a value; the padding gives its other outputs the gradient 0.
        g = torch.stack([grad_outputs, nn.functional.pad(grad_values, (0, grad_outputs.shape[1] - 1))])
        by_weights: list[Tensor] = []
        by_biases: list[Tensor] = []
        for h, weight in zip(reversed(layer_inputs), reversed(weights), strict=True):
            # From the last layer down: g is by now the gradient by what this layer gave, before its activation.
            by_weights.insert(0, multiply_transposed(g, h))
            by_biases.insert(0, g.sum(1, keepdim=True))
            # The features are no activation; their gradient is needed only under a network of pixels.
            if h is not layer_inputs[0]:
                g = activation_backward(torch.bmm(g, weight), h, ctx.activation)
        by_features = torch.bmm(g, weights[0]).sum(0) if ctx.needs_input_grad[0] else None
        return by_features, None, *by_weights, *by_biases


def multiply_transposed(g: Float[Tensor, "2 N O"], h: Float[Tensor, "2 N I"]) -> Float[Tensor, "2 O I"]:
    """Return g.T @ h, with the narrower factor first: 8 µs instead of 41 for [256, 4] and [256, 64] on a CPU."""
    if h.shape[2] < g.shape[2]:
        return torch.bmm(h.transpose(1, 2), g).transpose(1, 2)
    return torch.bmm(g.transpose(1, 2), h)


def forward_layers(
    features: Float[Tensor, "N I"], weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> list[Float[Tensor, "2 N W"]]:
    """Return the input of each layer of both networks, and the last layer's output."""
    # A view, not a copy: both towers read the same features.
    layer_inputs = [features.expand(2, *features.shape)]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layer_inputs.append(activate(layer_inputs[-1], weight, bias, activation))
    return [*layer_inputs, torch.baddbmm(biases[-1], layer_inputs[-1], weights[-1].transpose(1, 2))]


def split_heads(output: Float[Tensor, "2 N O"]) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 1"]]:
    """Split the last layer's output into the policy's outputs and the values."""
    return output[0], output[1, :, :1]


def activate(x: Float[Tensor, "2 N I"], weight: Tensor, bias: Tensor, activation: str) -> Float[Tensor, "2 N O"]:
    """Return relu or tanh of x @ weight.T + bias.

    tanh z = 2 sigmoid(2 z) - 1: for large tensors PyTorch's tanh takes three times as long on a CPU (2x256x64: 104 µs
    against 34), for small ones it is faster. The product yields 2 z directly.
    """
    is_large = activation == "tanh" and 2 * x.shape[1] * weight.shape[1] > SMALL_SIZE
    scale = 2 if is_large else 1
    z = torch.baddbmm(bias, x, weight.transpose(1, 2), beta=scale, alpha=scale)
    if is_large:
        return torch.add(MINUS_ONE, z.sigmoid_(), alpha=2, out=z)
    return z.relu_() if activation == "relu" else z.tanh_()


def activation_backward(g: Tensor, h: Tensor, activation: str) -> Tensor:
    """Return the gradient w.r.t. the activation's input, given its output `h` and the output's gradient `g`."""
    by_taken: Tensor
    if activation == "relu":
        by_taken = torch.ops.aten.threshold_backward(g, h, 0.0)
    else:
        by_taken = torch.ops.aten.tanh_backward(g, h)
    return by_taken
