"""Scores of pictures that need no people: ink, and a classifier of the digits; and how diverse pictures are."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.images.digits import load_digits
from likelier.training.setup import seeded_generator

WIDTH, STEPS, BATCH_SIZE, LEARNING_RATE, NOISE = 128, 1000, 128, 2e-3, 0.1
"""Of the classifier; `NOISE` is added to the pixels in training, from -1 to 1."""


def digit_pictures() -> Float[Tensor, "N P"]:
    """Return scikit-learn's digits as pictures, from -1 (paper) to 1."""
    return torch.from_numpy(load_digits()[0]) * 2 - 1


def measure_ink(pictures: Float[Tensor, "N P"]) -> Float[Tensor, " N"]:
    """Return the share of the paper that is black, from 0 to 1."""
    return (pictures.mean(1) + 1) / 2


class Classifier(nn.Module):
    """Says which digit a picture shows."""

    def __init__(self, num_pixels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_pixels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))

    def forward(self, pictures: Float[Tensor, "N P"]) -> Float[Tensor, "N 10"]:
        """Return the log-probability of each digit."""
        return torch.log_softmax(self.layers(pictures), -1)


def train_classifier(seed: int) -> Classifier:
    """Train a classifier on scikit-learn's digits; it is right on about 98 % of those it has not seen."""
    pictures, labels = digit_pictures(), torch.from_numpy(load_digits()[1])
    generator = seeded_generator(seed, 0, "classifier")
    model = Classifier(pictures.shape[1])
    for weight in model.parameters():
        nn.init.xavier_uniform_(weight, generator=generator) if weight.dim() > 1 else nn.init.zeros_(weight)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, fused=True)
    for _ in range(STEPS):
        rows = torch.randint(len(pictures), (BATCH_SIZE,), generator=generator)
        noisy = pictures[rows] + NOISE * torch.randn(BATCH_SIZE, pictures.shape[1], generator=generator)
        optimizer.zero_grad()
        nn.functional.nll_loss(model(noisy), labels[rows]).backward()
        optimizer.step()
    return model.requires_grad_(False)


def measure_diversity(pictures: Float[Tensor, "N P"], classifier: Classifier) -> dict[str, float]:
    """Return the mean distance between two pictures (root mean square, ink), and exp of the entropy of their digits:
    10 if all are as frequent, 1 if there is only one.
    """
    count = len(pictures)
    spread = 2 * pictures.var(0).mean()  # mean squared difference of a pixel between two pictures
    shares = torch.bincount(classifier(pictures).argmax(1), minlength=10) / count
    entropy = -(shares * shares.clamp(min=1e-12).log()).sum()
    return {"distance": float(spread.sqrt() / 2), "digits": float(entropy.exp())}
