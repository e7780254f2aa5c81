"""An ensemble of rewards r(observation, action), learned from comparisons of clips (Christiano et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likelier.control.spaces import ActionDecoder, Array
from likelier.training.setup import seeded_generator

HIDDEN = (64, 64)
ERROR_RATE = 0.1
"""Share of answers that are taken to be random, as in the paper."""
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2
BATCH_SIZE = 32
"""Comparisons in one step of the optimizer."""
FIRST_STEPS, STEPS = 300, 150
"""Optimizer steps of the first fit, and of each later one, which goes on from the weights before it."""
LIMIT = 5.0
"""Inputs are normalised and clipped to ±LIMIT."""


@dataclass(frozen=True)
class Comparisons:
    """Compared clips as numbers: steps `[N, 2, L, F]`, which of them count `[N, 2, L]`, the answers `[N]`.

    An answer is the probability that the first is better: 1, 0, 0.5 for a tie; NaN while there is none.
    """

    steps: Float[Tensor, "N 2 L F"]
    mask: Bool[Tensor, "N 2 L"]
    targets: Float[Tensor, " N"]


class RewardEnsemble(nn.Module):
    """`size` networks side by side. Each is scaled so that its rewards have mean square 1 on the clips it learned from.

    The scale is that of the root mean square and not of the deviation: where episodes end, the level of the rewards is
    learned from clips of different length, and says whether it is good that they go on.
    """

    shift: Tensor
    scale: Tensor
    unit: Tensor

    def __init__(self, num_inputs: int, size: int, seed: int) -> None:
        super().__init__()
        self.size, self.seed = size, seed
        sizes = list(pairwise([num_inputs, *HIDDEN, 1]))
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(size, inputs, outputs)) for inputs, outputs in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size, 1, outputs)) for _, outputs in sizes)
        generator = seeded_generator(seed, 0, "reward-ensemble")
        for weight in self.weights:
            for member in weight:
                nn.init.orthogonal_(member, 0.1 if weight is self.weights[-1] else 1.0, generator=generator)
        for name, value in (("shift", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((num_inputs,), value))
        self.register_buffer("unit", torch.ones(size))

    def forward(self, inputs: Float[Tensor, "... F"]) -> Float[Tensor, "M ..."]:
        """Rewards of each member, not scaled by `unit`."""
        x = ((inputs - self.shift) / self.scale).clamp(-LIMIT, LIMIT).flatten(0, -2).expand(self.size, -1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.tanh(torch.baddbmm(bias, x, weight))
        outputs: Tensor = torch.baddbmm(self.biases[-1], x, self.weights[-1])
        return outputs.view(self.size, *inputs.shape[:-1])

    @torch.no_grad()
    def rewards(self, inputs: Float[Tensor, "... F"]) -> Float[Tensor, "..."]:
        """The mean of the members' scaled rewards."""
        scaled = self.forward(inputs) / self.unit.view(-1, *[1] * (inputs.dim() - 1))
        return scaled.mean(0)

    def logits(self, steps: Float[Tensor, "N 2 L F"], mask: Bool[Tensor, "N 2 L"]) -> Float[Tensor, "M N"]:
        """Sum of rewards of the first clip less that of the second (Bradley-Terry)."""
        sums = torch.where(mask, self(steps), 0.0).sum(-1)
        return sums[..., 0] - sums[..., 1]

    @torch.no_grad()
    def probabilities(self, steps: Float[Tensor, "N 2 L F"], mask: Bool[Tensor, "N 2 L"]) -> Float[Tensor, "M N"]:
        """Of each member, that the first clip is better."""
        return self.logits(steps, mask).sigmoid()

    def bags(self, num: int) -> Float[Tensor, "M N"]:
        """How often each comparison counts for each member: Poisson of mean 1, the bootstrap of growing data.

        A single member learns from all that the bootstrap gives it too: what is left over measures it.
        """
        draws = [seeded_generator(self.seed, at, "reward-bags") for at in range(num)]
        return torch.stack([torch.poisson(torch.ones(self.size), generator=draw) for draw in draws], 1)

    def fit(self, known: Comparisons, step: int) -> None:
        """Learn from all answered comparisons, on from the present weights. `step` seeds the order."""
        answered = known.targets.isfinite()
        steps, mask, targets = known.steps[answered], known.mask[answered], known.targets[answered]
        bags = self.bags(len(answered))[:, answered]
        inputs = steps[mask]
        # In the units of what was seen first: rewards learned before must not change their meaning.
        is_first = bool(torch.all(self.scale == 1.0))
        if is_first:
            self.shift.copy_(inputs.mean(0))
            self.scale.copy_(inputs.std(0).clamp(min=1e-3))
        optimizer = torch.optim.AdamW(self.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        generator = seeded_generator(self.seed, step, "reward-order")
        for _ in range(FIRST_STEPS if is_first else STEPS):
            rows = torch.randint(len(targets), (BATCH_SIZE,), generator=generator)
            optimizer.zero_grad()
            comparison_loss(self.logits(steps[rows], mask[rows]), targets[rows], bags[:, rows]).backward()
            optimizer.step()
        with torch.no_grad():
            self.unit.copy_(self(inputs).square().mean(1).sqrt().clamp(min=1e-6))

    @torch.no_grad()
    def hits(self, known: Comparisons) -> Array:
        """1 where members that did not learn from an answer agree with it, 0 where not; ties are left out."""
        bags, targets = self.bags(len(known.targets)), known.targets
        outside = (bags == 0).float()
        count = outside.sum(0)
        rows = (targets.isfinite() & (targets != 0.5) & (count > 0)).nonzero()[:, 0]
        logits = (self.logits(known.steps[rows], known.mask[rows]) * outside[:, rows]).sum(0)
        right: Array = ((logits > 0) == (targets[rows] > 0.5)).double().numpy()
        return right


def comparison_loss(
    logits: Float[Tensor, "M N"], targets: Float[Tensor, " N"], weights: Float[Tensor, "M N"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy, summed over members, where the share `ERROR_RATE` of answers is a coin's:
    P = (1 - e) sigmoid(logit) + e / 2."""
    first = (1 - ERROR_RATE) * torch.sigmoid(logits) + ERROR_RATE / 2
    return -(weights * (targets * first.log() + (1 - targets) * (1 - first).log())).mean(1).sum()


def encode_steps(observations: Array, actions: Array, decoder: ActionDecoder) -> Array:
    """Inputs of the reward `[..., F]`: observations beside actions, categories one-hot, numbers as executed."""
    parts = [np.clip(actions[..., : decoder.num_real], -1.0, 1.0).astype(np.float32)]
    for at, size in enumerate(decoder.sizes, decoder.num_real):
        parts.append(np.eye(size, dtype=np.float32)[actions[..., at].astype(np.int64)])
    return np.concatenate([observations, *parts], -1)


def pad_clips(clips: Sequence[Array], length: int) -> tuple[Array, Array]:
    """Clips `[T, F]` of different lengths as `[N, length, F]` and their mask."""
    steps = np.zeros((len(clips), length, clips[0].shape[-1]), np.float32)
    mask = np.zeros((len(clips), length), bool)
    for at, clip in enumerate(clips):
        steps[at, : len(clip)], mask[at, : len(clip)] = clip, True
    return steps, mask
