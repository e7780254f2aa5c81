"""A discriminator between real pictures and the policy's, trained along (Goodfellow et al. 2014)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from likelier.training.setup import seeded_generator

WIDTH, BATCH_SIZE, STEPS = 128, 128, 20
"""Units of the hidden layers; vectors of each kind in an optimizer step, and steps for each batch of the policy."""
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2


class Discriminator(nn.Module):
    """Tells vectors of `real` [M, D] from a policy's.

    With as many of each the best logit is log p_real / p_policy. If `real` are samples of the start, its mean over the
    policy's pictures is minus their KL from the start; if they are the data, minus that from the data.
    """

    def __init__(self, real: Float[Tensor, "M D"], seed: int) -> None:
        super().__init__()
        self.real = real
        sizes = (real.shape[1], WIDTH, WIDTH, 1)
        layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
        generator = seeded_generator(seed, 0, "discriminator-weights")
        for layer in layers:
            nn.init.orthogonal_(layer.weight, 1.0, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])

    @torch.no_grad()
    def forward(self, vectors: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Estimate log p_real / p_policy."""
        logits: Tensor = self.layers(vectors)[:, 0]
        return logits

    def learn(self, others: Float[Tensor, "N D"], generator: torch.Generator, steps: int = STEPS) -> dict[str, float]:
        """Take some optimizer steps from the present weights on; returns metrics of the logits before them."""
        metrics = {
            "discriminator/logit": float(self(others).mean()),
            "discriminator/right": float((self(others) < 0).float().mean()),
        }
        optimizer = torch.optim.AdamW(self.layers.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        labels = torch.cat([torch.ones(BATCH_SIZE), torch.zeros(BATCH_SIZE)])
        for _ in range(steps):
            rows = [torch.randint(len(each), (BATCH_SIZE,), generator=generator) for each in (self.real, others)]
            logits = self.layers(torch.cat([self.real[rows[0]], others[rows[1]]]))[:, 0]
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, labels).backward()
            optimizer.step()
        return metrics
