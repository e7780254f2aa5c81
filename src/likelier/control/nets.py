"""Actor-critic networks: separate MLPs for policy and values over what they share, convolutions and an LSTM."""

import math
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from likelier.config import GymConfig
from likelier.control.distributions import Categorical, Distribution, Gaussian, Mixed, MultiCategorical
from likelier.control.envs import Spaces
from likelier.control.fast.actor_critic import ActorCriticMLP, numpy_mlp
from likelier.control.recurrent import Memory
from likelier.control.spaces import ActionDecoder, Array
from likelier.ppo.policy import Evaluation

Actor = Callable[[Array, Array | None, Array], tuple[Array, Array]]
"""(observations, noise, state) -> (actions, state after them); the likeliest actions if noise is None."""


class ActorCritic(nn.Module):
    """The policy that `ppo_update` trains; `actor` is its numpy snapshot for rollouts."""

    def __init__(self, spaces: Spaces, config: GymConfig, generator: torch.Generator) -> None:
        super().__init__()
        encoder = spaces.observations
        self.image = encoder.image
        self.distribution: Distribution = make_distribution(spaces.actions, config)
        self.trunk = make_conv_trunk(encoder.shape) if encoder.image else nn.Sequential()
        width = conv_output_width(encoder.shape) if encoder.image else encoder.shape[0]
        self.memory = Memory(width, config.lstm_size) if config.recurrent else None
        width = config.lstm_size if config.recurrent else width
        self.towers = ActorCriticMLP(width, config.hidden_sizes, self.distribution.num_outputs, config.activation)
        self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise orthogonally with gain sqrt(2); policy outputs start near 0 (Andrychowicz et al. 2021)."""
        for module in self.trunk:
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight, math.sqrt(2.0), generator=generator)
                nn.init.zeros_(cast("Tensor", module.bias))
        self.towers.initialise(generator, math.sqrt(2.0), 0.01, 1.0)
        if self.memory is not None:
            self.memory.initialise(generator)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.towers.weights[0].device

    def features(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        """Input of the MLPs: images through the convolutions, vectors unchanged."""
        if not self.image:
            return observations
        features: Tensor = self.trunk(observations.float() / 255.0)
        return features

    def forward(self, features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N 1"]]:
        """Distribution parameters of the policy `[N, K]`, and values `[N, 1]`, of what the MLPs read."""
        both: tuple[Tensor, Tensor] = self.towers.forward(features)
        return both

    def initial_state(self, num: int) -> Array:
        """States of the memory at the start of an episode, `[num, numbers]`; no numbers without a memory."""
        return np.zeros((num, 0 if self.memory is None else self.memory.state_size), np.float32)

    def actor(self) -> Actor:
        """A numpy snapshot of the policy.

        For the few rows of a step numpy takes a fifth of PyTorch's time.
        """
        layers, distribution = self.towers.policy_layers(), self.distribution
        remember = None if self.memory is None else self.memory.step()

        def act(observations: Array, noise: Array | None, state: Array) -> tuple[Array, Array]:
            features = self.image_features(observations) if self.image else observations
            if remember is not None:
                state = remember(features, state)
                features = np.split(state, 2, -1)[0]
            outputs = numpy_mlp(features, layers, self.towers.activation)
            return distribution.mode(outputs) if noise is None else distribution.sample(outputs, noise), state

        return act

    @torch.inference_mode()
    def image_features(self, images: Array) -> Array:
        """Features of images, in numpy."""
        return self.features(torch.from_numpy(images).to(self.device)).cpu().numpy()

    @torch.no_grad()
    def values(self, observations: Shaped[Tensor, "N ..."], state: Float[Tensor, "N S"]) -> Float[Tensor, " N"]:
        """Values of observations after those that led to `state`, without gradient."""
        return self.look(observations, state)[1].squeeze(-1)

    @torch.no_grad()
    def look(
        self, observations: Shaped[Tensor, "N ..."], state: Float[Tensor, "N S"]
    ) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N 1"]]:
        """Distribution parameters and values of observations after those that led to `state`, without gradient."""
        features = self.features(observations)
        if self.memory is not None:
            no_start = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
            features = self.memory.unroll(features[:, None], no_start, state)[:, 0]
        return self.forward(features)

    def evaluate(
        self, inputs: Mapping[str, Tensor], actions: Shaped[Tensor, "B T A"], mask: Bool[Tensor, "B T"]
    ) -> Evaluation:
        """Log-probabilities, values and entropy of given actions.

        A row is one step, so `T` is 1; with a memory it is the rollout of one environment (`sequence_rows`).
        """
        # `forward` directly: the hooks of `__call__` cost 1% of an update.
        if self.memory is None:
            outputs, values = self.forward(self.features(inputs["observations"]))
            logprobs, entropy = self.distribution.logprobs_and_entropy(outputs, actions[:, 0])
            return Evaluation(logprobs, values, entropy)
        observations = inputs["observations"]
        features = self.features(observations.flatten(0, 1)).unflatten(0, mask.shape)
        seen = self.memory.unroll(features, inputs["starts"], inputs["state"]).flatten(0, 1)
        outputs, values = self.forward(seen)
        logprobs, entropy = self.distribution.logprobs_and_entropy(outputs, actions.flatten(0, 1))
        return Evaluation(logprobs.view(mask.shape), values.view(mask.shape), entropy.view(mask.shape))


def make_distribution(actions: ActionDecoder, config: GymConfig) -> Distribution:
    """The action distribution for an environment's action space."""
    if actions.num_real:
        gaussian = Gaussian(actions.num_real, config.log_std, config.state_dependent_std)
        return Mixed(gaussian, MultiCategorical(actions.sizes)) if actions.sizes else gaussian
    return Categorical(actions.sizes[0]) if len(actions.sizes) == 1 else MultiCategorical(actions.sizes)


CHANNELS = (16, 32, 32)
"""Of the make_conv_trunk; each halves height and width."""


def make_conv_trunk(shape: tuple[int, ...]) -> nn.Sequential:
    """Convolutions of 3x3 with stride 2 that map `[C, H, W]` to a flat vector."""
    layers: list[nn.Module] = []
    before = shape[0]
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.Flatten())


def conv_output_width(shape: tuple[int, ...]) -> int:
    """Number of features that the convolutions output for an image."""
    height, width = shape[1:]
    for _ in CHANNELS:
        height, width = (height + 1) // 2, (width + 1) // 2
    return CHANNELS[-1] * height * width
