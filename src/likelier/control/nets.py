"""Small actor-critics: a network for the policy and one for the values, over a shared trunk where images are seen."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from likelier.config import GymConfig
from likelier.control.distributions import Categorical, Distribution, Gaussian, MultiCategorical
from likelier.control.envs import Spaces
from likelier.control.spaces import Actions, Array
from likelier.ppo.update import Evaluation
from likelier.training import autocast


class ActorCritic(nn.Module):
    """What an update asks of a policy, and what a rollout does: `act`."""

    def __init__(self, spaces: Spaces, config: GymConfig, generator: torch.Generator) -> None:
        super().__init__()
        seen = spaces.observations
        self.bf16, self.image = config.bf16, seen.image
        self.distribution: Distribution = distribution_of(spaces.actions, config)
        self.trunk = convolutions(seen.shape) if seen.image else nn.Identity()
        width = convolved_width(seen.shape) if seen.image else seen.shape[0]
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
        self.actor = perceptron(width, config.hidden_sizes, self.distribution.num_outputs, activation)
        self.critic = perceptron(width, config.hidden_sizes, 1, activation)
        self.start(generator)

    def start(self, generator: torch.Generator) -> None:
        """Orthogonal weights of gain sqrt(2), biases 0; outputs of the policy near 0 (Andrychowicz et al. 2021)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.orthogonal_(module.weight, math.sqrt(2.0), generator=generator)
                nn.init.zeros_(cast(Tensor, module.bias))
        with torch.no_grad():
            cast(nn.Linear, self.actor[-1]).weight.mul_(0.01 / math.sqrt(2.0))
            cast(nn.Linear, self.critic[-1]).weight.mul_(1.0 / math.sqrt(2.0))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def features(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        return self.trunk(observations.float() / 255.0) if self.image else observations

    @torch.inference_mode()
    def act(self, observations: Array, noise: Tensor | None) -> Array:
        """Sampled actions, or the likeliest where there is no noise."""
        seen = torch.from_numpy(observations).to(self.device)
        with autocast(seen.device, self.bf16):
            outputs = self.actor(self.features(seen)).float()
        distribution = self.distribution
        actions = distribution.mode(outputs) if noise is None else distribution.sample(outputs, noise)
        return actions.cpu().numpy()

    @torch.no_grad()
    def values(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        with autocast(observations.device, self.bf16):
            values: Tensor = self.critic(self.features(observations))
            return values.float().squeeze(-1)

    def evaluate(
        self, inputs: Mapping[str, Tensor], actions: Shaped[Tensor, "B 1 A"], mask: Bool[Tensor, "B 1"]
    ) -> Evaluation:
        """A row is one step, so `T` is 1."""
        observations = inputs["observations"]
        with autocast(observations.device, self.bf16):
            features = self.features(observations)
            outputs, values = self.actor(features).float(), self.critic(features).float()
        logprobs, entropy = self.distribution.logprobs_and_entropy(outputs, actions[:, 0])
        return Evaluation(logprobs[:, None], values, entropy[:, None])


def distribution_of(actions: Actions, config: GymConfig) -> Distribution:
    if not actions.sizes:
        return Gaussian(actions.num_real, config.log_std, config.state_dependent_std)
    return Categorical(actions.sizes[0]) if len(actions.sizes) == 1 else MultiCategorical(actions.sizes)


def perceptron(width: int, hidden: Sequence[int], outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), activation()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))


CHANNELS = (16, 32, 32)
"""Of the convolutions; each halves height and width."""


def convolutions(shape: tuple[int, ...]) -> nn.Sequential:
    """`[C, H, W]` to a flat vector: 3x3 filters with stride 2."""
    layers: list[nn.Module] = []
    before = shape[0]
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.Flatten())


def convolved_width(shape: tuple[int, ...]) -> int:
    height, width = shape[1:]
    for _ in CHANNELS:
        height, width = (height + 1) // 2, (width + 1) // 2
    return CHANNELS[-1] * height * width
