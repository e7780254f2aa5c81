"""Action distributions parametrised by network outputs: categorical, multi-categorical, Gaussian, mixed.

Sampling runs in numpy from noise drawn once for a whole rollout; log-probabilities for learning run in PyTorch.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from likelier.control.spaces import Array

LOG_STD_BOUNDS = (-20.0, 2.0)
"""Clamp of a state-dependent log standard deviation, as in SAC (Haarnoja et al. 2018)."""


class Categorical(nn.Module):
    """A softmax over `size` logits. Actions are `[..., 1]`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_outputs = self.num_noise = size

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Array:
        """Gumbel noise: argmax(logits + noise) is a sample (the Gumbel-max trick)."""
        return sample_gumbel((*shape, self.num_noise), generator)

    def sample(self, logits: Array, noise: Array) -> Array:
        """Actions `[..., 1]` from logits and Gumbel noise."""
        return self.mode(logits + noise)

    def mode(self, logits: Array) -> Array:
        """The likeliest action."""
        chosen: Array = logits.argmax(-1, keepdims=True)
        return chosen

    def logprobs_and_entropy(
        self, logits: Float[Tensor, "N K"], actions: Shaped[Tensor, "N 1"]
    ) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
        """log p(action), and -sum p log p in nats."""
        logprobs = torch.log_softmax(logits, -1)
        entropy = -(logprobs.exp() * logprobs).sum(-1, keepdim=True)
        return logprobs.gather(-1, actions), entropy


class MultiCategorical(nn.Module):
    """Independent categoricals. Actions are `[..., number of categoricals]`."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.single = Categorical(0)
        self.num_outputs = self.num_noise = sum(sizes)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Array:
        """Gumbel noise for all categoricals."""
        return sample_gumbel((*shape, self.num_noise), generator)

    def sample(self, logits: Array, noise: Array) -> Array:
        """Actions from logits and Gumbel noise."""
        return self.mode(logits + noise)

    def mode(self, logits: Array) -> Array:
        """The likeliest category of each."""
        parts = np.split(logits, np.cumsum(self.sizes)[:-1], -1)
        return np.stack([part.argmax(-1) for part in parts], -1)

    def logprobs_and_entropy(
        self, logits: Float[Tensor, "N K"], actions: Shaped[Tensor, "N C"]
    ) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
        """Log-probabilities and entropies, summed over the categoricals."""
        parts = zip(logits.split(self.sizes, -1), actions.split(1, -1), strict=True)
        logprobs, entropies = zip(
            *(self.single.logprobs_and_entropy(part, chosen) for part, chosen in parts), strict=True
        )
        return torch.stack(logprobs).sum(0), torch.stack(entropies).sum(0)


class Gaussian(nn.Module):
    """A diagonal Gaussian; its log standard deviation is a parameter or, if `dependent`, a network output."""

    def __init__(self, dimensions: int, log_std: float, dependent: bool) -> None:
        super().__init__()
        self.num_noise, self.dependent, self.start = dimensions, dependent, log_std
        self.num_outputs = dimensions * (2 if dependent else 1)
        if not dependent:
            self.log_std = nn.Parameter(torch.full((dimensions,), log_std))

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Array:
        """Standard normal noise."""
        return torch.randn((*shape, self.num_noise), generator=generator, device=generator.device).cpu().numpy()

    def mean_and_log_std(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation."""
        if not self.dependent:
            return outputs, self.log_std
        mean, log_std = outputs.chunk(2, -1)
        return mean, (log_std + self.start).clamp(*LOG_STD_BOUNDS)

    def sample(self, outputs: Array, noise: Array) -> Array:
        """mean + exp(log_std) * noise."""
        log_std: Array
        if self.dependent:
            log_std = np.clip(outputs[..., self.num_noise :] + self.start, *LOG_STD_BOUNDS)
        else:
            log_std = self.log_std.detach().cpu().numpy()
        sampled: Array = self.mode(outputs) + np.exp(log_std) * noise
        return sampled

    def mode(self, outputs: Array) -> Array:
        """The mean."""
        mean: Array = outputs[..., : self.num_noise]
        return mean

    def logprobs_and_entropy(
        self, outputs: Float[Tensor, "N K"], actions: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
        """Sums over dimensions of -z^2 / 2 - log s - log(2 pi) / 2, and of log s + (1 + log(2 pi)) / 2."""
        mean, log_std = self.mean_and_log_std(outputs)
        z = (actions - mean) * (-log_std).exp()
        constant = 0.5 * math.log(2 * math.pi)
        logprobs = (-0.5 * z.square() - log_std - constant).sum(-1, keepdim=True)
        entropy = (log_std + 0.5 + constant).sum(-1, keepdim=True)
        return logprobs, entropy.expand_as(logprobs)


class Mixed(nn.Module):
    """A Gaussian and categoricals, independent given the observation.

    Actions are `[..., dimensions + number of categoricals]` of floats: the numbers first, then the categories.
    """

    def __init__(self, gaussian: Gaussian, categories: MultiCategorical) -> None:
        super().__init__()
        self.gaussian, self.categories = gaussian, categories
        self.num_outputs = gaussian.num_outputs + categories.num_outputs
        self.num_noise = gaussian.num_noise + categories.num_noise

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Array:
        """Standard normal noise, then Gumbel noise."""
        return np.concatenate([part.noise(shape, generator) for part in (self.gaussian, self.categories)], -1)

    def sample(self, outputs: Array, noise: Array) -> Array:
        """Actions from outputs and noise."""
        numbers, categories = np.split(outputs, [self.gaussian.num_outputs], -1)
        normal, gumbel = np.split(noise, [self.gaussian.num_noise], -1)
        sampled = self.gaussian.sample(numbers, normal)
        return np.concatenate([sampled, self.categories.sample(categories, gumbel).astype(sampled.dtype)], -1)

    def mode(self, outputs: Array) -> Array:
        """The mean of the numbers, and the likeliest category of each categorical."""
        numbers, categories = np.split(outputs, [self.gaussian.num_outputs], -1)
        mean = self.gaussian.mode(numbers)
        return np.concatenate([mean, self.categories.mode(categories).astype(mean.dtype)], -1)

    def logprobs_and_entropy(
        self, outputs: Float[Tensor, "N K"], actions: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
        """Sums of both parts: log-densities of numbers and log-probabilities of categories, and so for entropies."""
        numbers, categories = outputs.tensor_split([self.gaussian.num_outputs], -1)
        taken, chosen = actions.tensor_split([self.gaussian.num_noise], -1)
        parts = (
            self.gaussian.logprobs_and_entropy(numbers, taken),
            self.categories.logprobs_and_entropy(categories, chosen.long()),
        )
        return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


Distribution = Categorical | MultiCategorical | Gaussian | Mixed


def sample_gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Array:
    """-log(-log u); u = 0 is replaced by the smallest positive float so that the noise is finite."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return (-(-uniform.clamp(min=torch.finfo(torch.float32).tiny).log()).log()).cpu().numpy()
