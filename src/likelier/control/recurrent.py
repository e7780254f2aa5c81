"""An LSTM between observation and policy: unrolled over whole rollouts for learning, stepped in numpy for acting.

As in Huang et al. 2022 ("The 37 implementation details of PPO", the five of LSTMs): weights orthogonal, the
state 0 at the start of an episode, minibatches of whole environments, and gradients through the whole rollout from
the state in which it began, which the older weights left.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likelier.control.spaces import Array


class Memory(nn.Module):
    """An LSTM of `size` units. Its state is one row: hidden and cell state side by side, `[N, 2 * size]`."""

    def __init__(self, num_inputs: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, size, batch_first=True)

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise orthogonally with gain 1; biases are 0, and 1 of the forget gates."""
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter, 1.0, generator=generator)
            else:
                nn.init.zeros_(parameter)
            if name == "bias_ih_l0":
                # An LSTM that starts by remembering learns long dependences sooner (Jozefowicz et al. 2015).
                nn.init.ones_(parameter.data.chunk(4)[1])

    @property
    def state_size(self) -> int:
        """Numbers in the state of one environment."""
        return 2 * self.lstm.hidden_size

    def unroll(
        self, features: Float[Tensor, "B T F"], starts: Bool[Tensor, "B T"], state: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B T H"]:
        """Hidden states of whole sequences, with graph; `starts` is True at the first step of an episode.

        Sequences are cut at the starts of episodes, and the pieces run side by side through PyTorch's fused LSTM: a
        loop over steps that masks the state takes six times as long on a CPU.
        """
        num_rows, num_steps = starts.shape
        begins = starts.clone()
        begins[:, 0] = True
        rows, times = begins.nonzero(as_tuple=True)
        where = rows * num_steps + times
        steps = torch.arange(num_rows * num_steps, device=starts.device)
        piece = begins.flatten().cumsum(0) - 1
        offset = steps - where[piece]

        pieces = features.new_zeros(len(rows), int(offset.max()) + 1, features.shape[2])
        pieces[piece, offset] = features.flatten(0, 1)
        goes_on = (times == 0) & ~starts[rows, times]
        hidden, cell = torch.where(goes_on[:, None], state[rows], 0.0)[None].chunk(2, -1)
        # With graph in any case: PyTorch takes another kernel without, and the first ratio would not be exactly 1.
        with torch.enable_grad():
            outputs = self.lstm(pieces, (hidden.contiguous(), cell.contiguous()))[0]
        seen: Tensor = outputs[piece, offset].unflatten(0, (num_rows, num_steps))
        return seen if torch.is_grad_enabled() else seen.detach()

    def step(self) -> Callable[[Array, Array], Array]:
        """A numpy snapshot: (features `[N, F]`, state) -> the state after them; its first half is the hidden state.

        Gates in PyTorch's order: i, f, o are sigmoids, g is a tanh, c' = f c + i g and h' = o tanh(c').
        """
        weights = [parameter.detach().cpu().numpy() for parameter in self.lstm.parameters()]
        by_input, by_hidden, bias = weights[0].T, weights[1].T, weights[2] + weights[3]

        def step(features: Array, state: Array) -> Array:
            hidden, cell = np.split(state, 2, -1)
            inputs, forget, new, output = np.split(features @ by_input + hidden @ by_hidden + bias, 4, -1)
            cell = sigmoid(forget) * cell + sigmoid(inputs) * np.tanh(new)
            return np.concatenate([sigmoid(output) * np.tanh(cell), cell], -1)

        return step


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), as (1 + tanh(x / 2)) / 2, which never overflows."""
    half: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return half
