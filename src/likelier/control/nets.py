"""Small actor-critics: a network for the policy and one for the values, over a shared trunk where images are seen."""

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from likelier.config import GymConfig
from likelier.control.distributions import Categorical, Distribution, Gaussian, MultiCategorical
from likelier.control.envs import Spaces
from likelier.control.fast.actor_critic import ActorCriticMLP, numpy_mlp
from likelier.control.spaces import Actions, Array
from likelier.ppo.update import Evaluation


class ActorCritic(nn.Module):
    """What an update asks of a policy, and what a rollout does: `actor`."""

    def __init__(self, spaces: Spaces, config: GymConfig, generator: torch.Generator) -> None:
        super().__init__()
        seen = spaces.observations
        self.image = seen.image
        self.distribution: Distribution = distribution_of(spaces.actions, config)
        self.trunk = convolutions(seen.shape) if seen.image else nn.Sequential()
        width = convolved_width(seen.shape) if seen.image else seen.shape[0]
        self.towers = ActorCriticMLP(width, config.hidden_sizes, self.distribution.num_outputs, config.activation)
        self.start(generator)

    def start(self, generator: torch.Generator) -> None:
        """Orthogonal weights of gain sqrt(2), biases 0; outputs of the policy near 0 (Andrychowicz et al. 2021)."""
        for module in self.trunk:
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight, math.sqrt(2.0), generator=generator)
                nn.init.zeros_(cast(Tensor, module.bias))
        self.towers.start(generator, math.sqrt(2.0), 0.01, 1.0)

    @property
    def device(self) -> torch.device:
        return self.towers.weights[0].device

    def features(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        if not self.image:
            return observations
        features: Tensor = self.trunk(observations.float() / 255.0)
        return features

    def forward(self, observations: Shaped[Tensor, "N ..."]) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N 1"]]:
        """Outputs of the policy, for its distribution, and values."""
        both: tuple[Tensor, Tensor] = self.towers.forward(self.features(observations))
        return both

    def actor(self) -> Callable[[Array, Array | None], Array]:
        """The policy of this moment: observations and noise to actions, the likeliest where there is no noise.

        In numpy: the network of a few rows takes a fifth of the time that PyTorch takes to be called.
        """
        layers, distribution = self.towers.policy_layers(), self.distribution

        def act(observations: Array, noise: Array | None) -> Array:
            features = self.seen_features(observations) if self.image else observations
            outputs = numpy_mlp(features, layers, self.towers.activation)
            return distribution.mode(outputs) if noise is None else distribution.sample(outputs, noise)

        return act

    @torch.inference_mode()
    def seen_features(self, images: Array) -> Array:
        return self.features(torch.from_numpy(images).to(self.device)).cpu().numpy()

    @torch.no_grad()
    def values(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        values: Tensor = self(observations)[1]
        return values.squeeze(-1)

    def evaluate(
        self, inputs: Mapping[str, Tensor], actions: Shaped[Tensor, "B 1 A"], mask: Bool[Tensor, "B 1"]
    ) -> Evaluation:
        """A row is one step, so `T` is 1. `forward` itself: a module's call around it is a hundredth of an update."""
        outputs, values = self.forward(inputs["observations"])
        logprobs, entropy = self.distribution.logprobs_and_entropy(outputs, actions[:, 0])
        return Evaluation(logprobs, values, entropy)


def distribution_of(actions: Actions, config: GymConfig) -> Distribution:
    if not actions.sizes:
        return Gaussian(actions.num_real, config.log_std, config.state_dependent_std)
    return Categorical(actions.sizes[0]) if len(actions.sizes) == 1 else MultiCategorical(actions.sizes)


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
